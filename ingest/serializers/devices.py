"""Devices, channels and readings, as the API shows them."""

from datetime import datetime
from typing import Any

from rest_framework import serializers

from ingest.models import Channel, Device, Reading
from ingest.receipts import instant
from ingest.units import plain
from tenants.bodies import RequestBody
from tenants.identifiers import public_id


class DeviceSerializer(serializers.ModelSerializer[Device]):
    """A meter."""

    # The API's name; the base class's attribute is shadowed by every field called so.
    source = serializers.SerializerMethodField(  # type: ignore[assignment]
        help_text="The source that it was first heard from."
    )

    class Meta:
        model = Device
        fields = ["id", "name", "status", "source", "created_at"]
        read_only_fields = fields

    def get_source(self, device: Device) -> str | None:
        """Return the source's public id."""
        return public_id("src", device.source_id) if device.source_id else None


class ChannelSerializer(serializers.ModelSerializer[Channel]):
    """One series of a device."""

    device = serializers.CharField(source="device.name", read_only=True)
    channel = serializers.CharField(source="code", read_only=True)
    daily_threshold = serializers.SerializerMethodField(
        help_text="Usage of a local day, in `unit`, above which it is news."
    )
    last_heard_at = serializers.DateTimeField(
        source="heard_at",
        read_only=True,
        allow_null=True,
        help_text="When a callback with its readings came, since it is watched.",
    )
    due_at = serializers.DateTimeField(read_only=True, allow_null=True)
    silent_since = serializers.DateTimeField(read_only=True, allow_null=True)

    class Meta:
        model = Channel
        fields = [
            "id",
            "device",
            "channel",
            "kind",
            "commodity",
            "unit",
            "expected_interval_s",
            "daily_threshold",
            "last_heard_at",
            "due_at",
            "silent_since",
            "created_at",
        ]
        read_only_fields = fields

    def get_daily_threshold(self, channel: Channel) -> str | None:
        """Return the exact decimal; null: none."""
        threshold = channel.daily_threshold
        return None if threshold is None else plain(threshold)


class ExpectedIntervalSerializer(RequestBody):
    """Within which time the next reading is expected."""

    shown_as = DeviceSerializer

    expected_interval_s = serializers.IntegerField(
        allow_null=True, help_text="Null: silence is no news."
    )


class ChannelChangeSerializer(RequestBody):
    """What a channel measures, and what of it is news."""

    shown_as = ChannelSerializer

    commodity = serializers.RegexField(
        r"^[a-z][a-z0-9_]*$", max_length=32, required=False
    )
    expected_interval_s = serializers.IntegerField(
        allow_null=True, required=False, help_text="Null: silence is no news."
    )
    daily_threshold = serializers.DecimalField(
        max_digits=None,
        decimal_places=None,
        allow_null=True,
        required=False,
        help_text="Usage of a local day, in `unit`, above which it is news; or null.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse a change of nothing."""
        if not attrs:
            raise serializers.ValidationError(
                "None of commodity, expected_interval_s, daily_threshold is given."
            )
        return attrs


class ReadingSerializer(serializers.Serializer[Reading]):
    """The value in force of one interval or register."""

    device = serializers.CharField(source="channel.device.name")
    channel = serializers.CharField(source="channel.code")
    kind = serializers.CharField(source="channel.kind")
    start_at = serializers.SerializerMethodField()
    duration_s = serializers.IntegerField()
    value = serializers.SerializerMethodField("get_exact")
    unit = serializers.CharField(source="channel.unit")
    quality = serializers.CharField()
    callback = serializers.SerializerMethodField()

    def get_start_at(self, reading: Reading) -> str:
        """Return the start, in UTC."""
        at: datetime = reading.start_at
        return instant(at)

    def get_exact(self, reading: Reading) -> str | None:
        """Return the exact decimal; null: missing."""
        return None if reading.value is None else plain(reading.value)

    def get_callback(self, reading: Reading) -> str:
        """Return the receipt of the callback that it came with."""
        return public_id("rcp", reading.callback_id)
