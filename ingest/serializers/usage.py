"""Usage, as the API shows it."""

from typing import Any

from rest_framework import serializers

from ingest.queries import UsedShare
from ingest.units import plain


class UsedShareSerializer(serializers.Serializer[UsedShare]):
    """What a channel used in one local hour, day or month."""

    start_at = serializers.SerializerMethodField()
    end_at = serializers.SerializerMethodField()
    value = serializers.SerializerMethodField("get_exact")
    unit = serializers.CharField()
    actual = serializers.FloatField()
    estimated = serializers.FloatField()
    missing = serializers.FloatField()

    def get_start_at(self, row: UsedShare) -> str:
        """Return the start, in the tenant's zone."""
        return row.start_at.isoformat()

    def get_end_at(self, row: UsedShare) -> str:
        """Return the end, in the tenant's zone."""
        return row.end_at.isoformat()

    def get_exact(self, row: UsedShare) -> str:
        """Return the exact decimal."""
        return plain(row.value)


class UsageSerializer(serializers.Serializer[Any]):
    """An answer about usage."""

    results = UsedShareSerializer(many=True)
