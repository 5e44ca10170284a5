"""The JSON of manifests: what a day had for an endpoint."""

from rest_framework import serializers

from subscriptions.models import Delivery, Manifest
from tenants.identifiers import public_id


class ManifestSerializer(serializers.ModelSerializer[Manifest]):
    """What an endpoint was sent of one local day."""

    day = serializers.DateField(source="day_date")
    ids_hash = serializers.CharField(
        help_text="SHA-256 of the sorted message ids, joined by line feeds"
    )

    class Meta:
        model = Manifest
        fields = ["day", "start_at", "end_at", "messages", "ids_hash", "created_at"]


class ManifestMessageSerializer(serializers.ModelSerializer[Delivery]):
    """One of the messages of a day."""

    message = serializers.SerializerMethodField()
    delivery = serializers.CharField(source="public_id")
    status = serializers.CharField()

    class Meta:
        model = Delivery
        fields = ["message", "delivery", "event_type", "status"]

    def get_message(self, delivery: Delivery) -> str:
        """Return the message's id: what the hash is of."""
        return public_id("msg", delivery.message_id)
