"""Callbacks, as the API shows them."""

from typing import Any

from rest_framework import serializers

from ingest.models import Callback
from ingest.queries import receipt
from ingest.receipts import STATUS_NAMES
from tenants.bodies import RequestBody


class CountsSerializer(serializers.Serializer[Any]):
    """What became of a callback's readings."""

    stored = serializers.IntegerField()
    unchanged = serializers.IntegerField()
    corrected = serializers.IntegerField()
    rejected = serializers.IntegerField()


class ErrorSerializer(serializers.Serializer[Any]):
    """Why a reading was refused."""

    index = serializers.IntegerField(
        allow_null=True, help_text="The reading's place; null: the whole body."
    )
    code = serializers.CharField()
    detail = serializers.CharField()


class CallbackSerializer(serializers.Serializer[Callback]):
    """A receipt."""

    receipt = serializers.CharField()
    transaction_id = serializers.CharField()
    # The API's name, as is `errors`: read-only forms use neither attribute.
    source = serializers.CharField()  # type: ignore[assignment]
    status = serializers.ChoiceField(STATUS_NAMES)
    readings = CountsSerializer()
    errors = ErrorSerializer(many=True)  # type: ignore[assignment]
    received_at = serializers.DateTimeField()
    processed_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: Callback) -> dict[str, Any]:
        """Return the receipt, as messages carry it."""
        return receipt(instance)


class DiscardSerializer(RequestBody):
    """Why a callback stays rejected."""

    reason = serializers.CharField(max_length=500)
