"""The JSON of the catalogue of event types, and of what narrows them."""

from typing import Any

from rest_framework import serializers

from subscriptions.models import DeviceGroup, SigningKey
from subscriptions.queries.signing_keys import thumbprint
from subscriptions.services.device_groups import MOST_DEVICES
from tenants.bodies import RequestBody


class EventTypeSerializer(serializers.Serializer[Any]):
    """A type of event: the JSON Schema of its data, and examples of it."""

    name = serializers.CharField()
    description = serializers.CharField()
    urgent = serializers.BooleanField()
    schema = serializers.DictField()
    example = serializers.DictField()
    thin_example = serializers.DictField()


class EventTypesSerializer(serializers.Serializer[Any]):
    """Every type of event: one page, in the form of all lists."""

    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    #: The shapes of bodies that an endpoint may be pinned to, the newest last.
    api_versions = serializers.ListField(child=serializers.CharField())
    results = EventTypeSerializer(many=True)


class DeviceGroupSerializer(serializers.ModelSerializer[DeviceGroup]):
    """A device group; its devices are in the detail alone."""

    id = serializers.CharField(source="public_id", read_only=True)
    size = serializers.SerializerMethodField()

    class Meta:
        model = DeviceGroup
        fields = ["id", "name", "size", "updated_at"]
        read_only_fields = ["updated_at"]

    def get_size(self, group: Any) -> int:
        """Return how many names it has, as the list's query counted them."""
        return int(group.size)


class DeviceGroupWithDevicesSerializer(DeviceGroupSerializer):
    """A device group with its devices."""

    class Meta(DeviceGroupSerializer.Meta):
        fields = [*DeviceGroupSerializer.Meta.fields, "devices"]

    def get_size(self, group: DeviceGroup) -> int:
        """Return how many names it has."""
        return len(group.devices)


class NewDeviceGroupSerializer(RequestBody):
    """What makes a group; a name that ends in `*` stands for all that begin so."""

    shown_as = DeviceGroupWithDevicesSerializer

    name = serializers.CharField(max_length=100, trim_whitespace=False)
    devices = serializers.ListField(
        child=serializers.CharField(max_length=255, trim_whitespace=False),
        max_length=MOST_DEVICES,
    )


class DeviceGroupChangesSerializer(RequestBody):
    """What may be changed; `devices` replaces the whole list."""

    shown_as = DeviceGroupWithDevicesSerializer

    name = serializers.CharField(max_length=100, trim_whitespace=False, required=False)
    devices = serializers.ListField(
        child=serializers.CharField(max_length=255, trim_whitespace=False),
        max_length=MOST_DEVICES,
        required=False,
    )


class SigningKeySerializer(serializers.ModelSerializer[SigningKey]):
    """A public key of the tenant's; `id` is its RFC 7638 thumbprint."""

    id = serializers.SerializerMethodField()

    class Meta:
        model = SigningKey
        fields = ["id", "public", "created_at", "expires_at"]

    def get_id(self, key: SigningKey) -> str:
        """Return what the published keys call it."""
        return thumbprint(key.public)


class SigningKeysSerializer(serializers.Serializer[Any]):
    """Every key in force: one page, in the form of all lists."""

    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = SigningKeySerializer(many=True)
