"""The JSON of messages, of their ways to endpoints, and of what was tried."""

import json
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from subscriptions.models import Attempt, Delivery, DeliveryStatus, Lane, Message
from subscriptions.queries.exchanges import Exchange, exchange_of
from subscriptions.services.deliveries import REASON_LIMIT
from tenants.bodies import RequestBody
from tenants.identifiers import public_id


class MessageSerializer(serializers.ModelSerializer[Message]):
    """A message; its body is the JSON of the common shape."""

    id = serializers.CharField(source="public_id", read_only=True)
    receipt = serializers.SerializerMethodField()
    body = serializers.SerializerMethodField()

    class Meta:
        model = Message
        fields = ["id", "event_type", "receipt", "created_at", "body"]

    def get_receipt(self, message: Message) -> str | None:
        """Return the receipt of the callback that it tells of; null: of none."""
        found = message.receipt_id
        return public_id("rcp", found) if found is not None else None

    @extend_schema_field(serializers.DictField())
    def get_body(self, message: Message) -> Any:
        """Return the JSON, parsed."""
        return json.loads(bytes(message.body))


class ShownHeaderSerializer(serializers.Serializer[Any]):
    """A header that was sent; what is secret, or proves a secret, is masked."""

    name = serializers.CharField()
    value = serializers.CharField()


class ShownRequestSerializer(serializers.Serializer[Any]):
    """What was sent."""

    line = serializers.CharField()
    headers = ShownHeaderSerializer(many=True)


class ShownResponseSerializer(serializers.Serializer[Any]):
    """What was answered, as far as it is kept."""

    line = serializers.CharField()
    headers = serializers.CharField()
    excerpt = serializers.CharField()


class AttemptSerializer(serializers.ModelSerializer[Attempt]):
    """One request and what came of it."""

    status_code = serializers.IntegerField(allow_null=True)
    batch = serializers.SerializerMethodField()
    error_detail = serializers.SerializerMethodField()
    response_excerpt = serializers.SerializerMethodField()
    request = serializers.SerializerMethodField()
    response = serializers.SerializerMethodField()

    class Meta:
        model = Attempt
        fields = [
            "number",
            "started_at",
            "duration_ms",
            "status_code",
            "error",
            "error_detail",
            "url",
            "address",
            "http_version",
            "batch",
            "response_excerpt",
            "request",
            "response",
        ]

    def get_batch(self, attempt: Attempt) -> str | None:
        """Return the `webhook-id` of the batch it was sent in; null: it went alone."""
        return public_id("bat", attempt.batch_id) if attempt.batch_id else None

    def _exchange(self, attempt: Attempt) -> Exchange:
        found: Exchange = self.context["exchanges"][attempt.pk]
        return found

    def get_error_detail(self, attempt: Attempt) -> str:
        """Return the error in words; empty: it succeeded."""
        return self._exchange(attempt).detail

    def get_response_excerpt(self, attempt: Attempt) -> str:
        """Return the beginning of the answer, as text."""
        return self._exchange(attempt).excerpt

    @extend_schema_field(ShownRequestSerializer(allow_null=True))
    def get_request(self, attempt: Attempt) -> Any:
        """Return what was sent; null: nothing left the platform."""
        exchange = self._exchange(attempt)
        if not exchange.request_headers:
            return None
        headers = [
            {"name": name, "value": value} for name, value in exchange.request_headers
        ]
        return {"line": exchange.request_line, "headers": headers}

    @extend_schema_field(ShownResponseSerializer(allow_null=True))
    def get_response(self, attempt: Attempt) -> Any:
        """Return what was answered; null: nothing was."""
        exchange = self._exchange(attempt)
        if not exchange.response_line:
            return None
        return {
            "line": exchange.response_line,
            "headers": exchange.response_headers,
            "excerpt": exchange.excerpt,
        }


class DeliverySerializer(serializers.ModelSerializer[Delivery]):
    """A message's way to one endpoint."""

    id = serializers.CharField(source="public_id", read_only=True)
    message = serializers.SerializerMethodField()
    endpoint = serializers.SerializerMethodField()
    status = serializers.ChoiceField(DeliveryStatus.choices, read_only=True)
    lane = serializers.SerializerMethodField()
    next_attempt_at = serializers.SerializerMethodField()

    class Meta:
        model = Delivery
        fields = [
            "id",
            "message",
            "endpoint",
            "event_type",
            "status",
            "lane",
            "attempt_count",
            "next_attempt_at",
            "last_status_code",
            "last_error",
            "created_at",
            "finished_at",
            "cancel_reason",
        ]

    def get_message(self, delivery: Delivery) -> str:
        """Return the message's id: the `webhook-id` of every attempt."""
        return public_id("msg", delivery.message_id)

    def get_endpoint(self, delivery: Delivery) -> str:
        """Return the endpoint's id."""
        return public_id("ep", delivery.endpoint_id)

    @extend_schema_field(serializers.ChoiceField([one.name.lower() for one in Lane]))
    def get_lane(self, delivery: Delivery) -> str:
        """Return `urgent`, `fresh` or `late`."""
        return Lane(delivery.lane).name.lower()

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_next_attempt_at(self, delivery: Delivery) -> Any:
        """Return when it is tried next; null: never, or after those before it."""
        is_pending = delivery.status == DeliveryStatus.PENDING
        return delivery.next_attempt_at if is_pending else None


class DeliveryWithAttemptsSerializer(DeliverySerializer):
    """A delivery and the newest hundred attempts."""

    attempts = serializers.SerializerMethodField()

    class Meta(DeliverySerializer.Meta):
        fields = [*DeliverySerializer.Meta.fields, "attempts"]

    @extend_schema_field(AttemptSerializer(many=True))
    def get_attempts(self, delivery: Delivery) -> Any:
        """Return the attempts that the view has read."""
        found = self.context["attempts"]
        exchanges = {one.pk: exchange_of(delivery, one) for one in found}
        context = {"exchanges": exchanges}
        return AttemptSerializer(found, many=True, context=context).data


class ReasonSerializer(RequestBody):
    """Why something is given up."""

    reason = serializers.CharField(max_length=REASON_LIMIT)


class DiscardedSerializer(serializers.Serializer[Any]):
    """How many messages were given up; call again while it is the most of one call."""

    discarded = serializers.IntegerField()
