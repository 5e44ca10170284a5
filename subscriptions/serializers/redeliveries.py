"""The JSON of what is sent again."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from subscriptions.models import Redelivery, RedeliveryKind, RedeliveryStatus
from subscriptions.queries.redeliveries import caught_up_at
from subscriptions.services.deliveries import RESEND_LIMIT
from subscriptions.services.redelivering import RATE_DEFAULT_PER_S, RATE_LIMIT_PER_S
from tenants.bodies import RequestBody
from tenants.identifiers import public_id

_DEVICE_CHARACTERS = 255


def _rate() -> serializers.IntegerField:
    return serializers.IntegerField(
        min_value=1, max_value=RATE_LIMIT_PER_S, default=RATE_DEFAULT_PER_S
    )


class RecoverySerializer(RequestBody):
    """Since when dead messages are tried again; a week, where it is not said."""

    since = serializers.DateTimeField(required=False)
    rate_per_s = _rate()


class ReplaySerializer(RequestBody):
    """
    What is sent again exactly as then: a device's messages of a period, or these.

    With `message_ids` nothing else is asked for.
    """

    device = serializers.CharField(
        max_length=_DEVICE_CHARACTERS,
        allow_blank=True,
        default="",
        trim_whitespace=False,
    )
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    rate_per_s = _rate()
    message_ids = serializers.ListField(
        child=serializers.CharField(max_length=64),
        required=False,
        min_length=1,
        max_length=RESEND_LIMIT,
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse a period without a beginning."""
        if "since" not in attrs and "message_ids" not in attrs:
            raise serializers.ValidationError(
                {"since": ["Say since when, or give message_ids."]}
            )
        return attrs


class RedeliverySerializer(serializers.ModelSerializer[Redelivery]):
    """A redelivery, and how far it is."""

    id = serializers.CharField(source="public_id", read_only=True)
    endpoint = serializers.SerializerMethodField()
    kind = serializers.ChoiceField(RedeliveryKind.choices, read_only=True)
    status = serializers.ChoiceField(RedeliveryStatus.choices, read_only=True)
    caught_up_at = serializers.SerializerMethodField()

    class Meta:
        model = Redelivery
        fields = [
            "id",
            "endpoint",
            "kind",
            "status",
            "device",
            "since",
            "until",
            "rate_per_s",
            "total",
            "done",
            "caught_up_at",
            "created_by",
            "created_at",
            "finished_at",
        ]

    def get_endpoint(self, redelivery: Redelivery) -> str:
        """Return the endpoint's id."""
        return public_id("ep", redelivery.endpoint_id)

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_caught_up_at(self, redelivery: Redelivery) -> Any:
        """Return when its last message will be due; null: it has ended."""
        return caught_up_at(redelivery, timezone.now())


class RecoveredSerializer(RedeliverySerializer):
    """A recovery, with the messages it has to send under the name it always had."""

    recovered = serializers.IntegerField(source="total", read_only=True)

    class Meta(RedeliverySerializer.Meta):
        fields = ["recovered", *RedeliverySerializer.Meta.fields]


class ResentSerializer(serializers.Serializer[Any]):
    """What became of the messages that were asked for by their ids."""

    requeued = serializers.IntegerField()
    waiting = serializers.ListField(child=serializers.CharField())
    cancelled = serializers.ListField(child=serializers.CharField())
    unknown = serializers.ListField(child=serializers.CharField())
