"""The JSON of endpoints, messages and deliveries."""

import json
from typing import Any

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from subscriptions.models import Attempt, Delivery, DeliveryStatus, Endpoint, Message
from subscriptions.services.endpoints import OVERLAP_DEFAULT_S, OVERLAP_LIMIT_S
from tenants.identifiers import public_id

_URL_CHARACTERS = 2048


class EndpointSerializer(serializers.ModelSerializer[Endpoint]):
    """An endpoint, without its secret."""

    id = serializers.CharField(source="public_id", read_only=True)
    status = serializers.CharField(read_only=True)

    class Meta:
        model = Endpoint
        fields = [
            "id",
            "url",
            "description",
            "event_types",
            "status",
            "status_detail",
            "consented_at",
            "allowed_rate_per_min",
            "failing_since",
            "created_at",
        ]


class EndpointWithSecretSerializer(EndpointSerializer):
    """An endpoint and its new secret, which is shown this once."""

    secret = serializers.SerializerMethodField()

    class Meta(EndpointSerializer.Meta):
        fields = [*EndpointSerializer.Meta.fields, "secret"]

    def get_secret(self, endpoint: Endpoint) -> str:
        """Return what the view was given by the service."""
        return str(self.context["secret"])


class NewEndpointSerializer(serializers.Serializer[Endpoint]):
    """What registers an endpoint."""

    # No URLField: the service judges the URL, and says what is wrong with it.
    url = serializers.CharField(max_length=_URL_CHARACTERS)
    event_types = serializers.ListField(
        child=serializers.CharField(max_length=64), max_length=64
    )
    description = serializers.CharField(max_length=200, allow_blank=True, default="")


class EndpointChangesSerializer(serializers.Serializer[Endpoint]):
    """What may be changed; another URL must consent again."""

    url = serializers.CharField(max_length=_URL_CHARACTERS, required=False)
    event_types = serializers.ListField(
        child=serializers.CharField(max_length=64), max_length=64, required=False
    )
    description = serializers.CharField(
        max_length=200, allow_blank=True, required=False
    )


@extend_schema_serializer(component_name="EndpointRotation")
class RotationSerializer(serializers.Serializer[Any]):
    """How long the old secrets go on signing."""

    overlap_s = serializers.IntegerField(
        min_value=0, max_value=OVERLAP_LIMIT_S, default=OVERLAP_DEFAULT_S
    )


class RecoverySerializer(serializers.Serializer[Any]):
    """Since when dead messages are tried again; a week, where it is not said."""

    since = serializers.DateTimeField(required=False)


class RecoveredSerializer(serializers.Serializer[Any]):
    """How many messages are tried again."""

    recovered = serializers.IntegerField()


class EventTypeSerializer(serializers.Serializer[Any]):
    """A type of event, with an example of its data."""

    name = serializers.CharField()
    description = serializers.CharField()
    example = serializers.DictField()


class EventTypesSerializer(serializers.Serializer[Any]):
    """Every type of event: one page, in the form of all lists."""

    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = EventTypeSerializer(many=True)


class MessageSerializer(serializers.ModelSerializer[Message]):
    """A message; its body is the JSON that endpoints are sent."""

    id = serializers.CharField(source="public_id", read_only=True)
    body = serializers.SerializerMethodField()

    class Meta:
        model = Message
        fields = ["id", "event_type", "created_at", "body"]

    @extend_schema_field(serializers.DictField())
    def get_body(self, message: Message) -> Any:
        """Return the JSON, parsed."""
        return json.loads(bytes(message.body))


class AttemptSerializer(serializers.ModelSerializer[Attempt]):
    """One request and what came of it."""

    status_code = serializers.IntegerField(allow_null=True)
    response_excerpt = serializers.SerializerMethodField()

    class Meta:
        model = Attempt
        fields = [
            "number",
            "started_at",
            "duration_ms",
            "status_code",
            "error",
            "error_detail",
            "address",
            "response_excerpt",
        ]

    def get_response_excerpt(self, attempt: Attempt) -> str:
        """Return the beginning of the answer, as text."""
        return bytes(attempt.response_excerpt).decode("utf-8", "replace")


class DeliverySerializer(serializers.ModelSerializer[Delivery]):
    """A message's way to one endpoint."""

    id = serializers.CharField(source="public_id", read_only=True)
    message = serializers.SerializerMethodField()
    endpoint = serializers.SerializerMethodField()
    status = serializers.CharField(read_only=True)
    next_attempt_at = serializers.SerializerMethodField()

    class Meta:
        model = Delivery
        fields = [
            "id",
            "message",
            "endpoint",
            "event_type",
            "status",
            "attempt_count",
            "next_attempt_at",
            "last_status_code",
            "last_error",
            "created_at",
            "finished_at",
        ]

    def get_message(self, delivery: Delivery) -> str:
        """Return the message's id: the `webhook-id` of every attempt."""
        return public_id("msg", delivery.message_id)

    def get_endpoint(self, delivery: Delivery) -> str:
        """Return the endpoint's id."""
        return public_id("ep", delivery.endpoint_id)

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_next_attempt_at(self, delivery: Delivery) -> Any:
        """Return when it is tried next; null: never."""
        is_pending = delivery.status == DeliveryStatus.PENDING
        return delivery.next_attempt_at if is_pending else None


class DeliveryWithAttemptsSerializer(DeliverySerializer):
    """A delivery and all that was tried."""

    attempts = serializers.SerializerMethodField()

    class Meta(DeliverySerializer.Meta):
        fields = [*DeliverySerializer.Meta.fields, "attempts"]

    @extend_schema_field(AttemptSerializer(many=True))
    def get_attempts(self, delivery: Delivery) -> Any:
        """Return the attempts that the view has read."""
        return AttemptSerializer(self.context["attempts"], many=True).data
