"""Sources, as the API shows and takes them."""

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from ingest.models import (
    RevokedDevice,
    Scheme,
    Source,
    SourceSecret,
    UnknownDevices,
)
from ingest.queries import source_url
from ingest.services.sources import (
    DEVICE_LIMIT,
    NAME_LIMIT,
    NETWORK_LIMIT,
    OVERLAP_LIMIT_S,
    RATE_LIMIT_PER_S,
)
from tenants.bodies import RequestBody

DEFAULT_OVERLAP_S = 86_400


class SecretSerializer(serializers.ModelSerializer[SourceSecret]):
    """A secret's life, without the secret."""

    class Meta:
        model = SourceSecret
        fields = ["created_at", "expires_at"]


class SourceSerializer(serializers.ModelSerializer[Source]):
    """A source."""

    id = serializers.CharField(source="public_id", read_only=True)
    url = serializers.SerializerMethodField()
    secrets = SecretSerializer(many=True, read_only=True)

    class Meta:
        model = Source
        fields = [
            "id",
            "url",
            "name",
            "scheme",
            "allowed_cidrs",
            "rate_limit_per_s",
            "register_devices",
            "device_keys",
            "enabled",
            "created_at",
            "secrets",
        ]
        read_only_fields = fields

    def get_url(self, source: Source) -> str:
        """Return where the source posts its callbacks."""
        return source_url(source)


class SourceWithSecretSerializer(SourceSerializer):
    """A source with the secret that is shown this once."""

    secret = serializers.SerializerMethodField()

    class Meta(SourceSerializer.Meta):
        fields = [*SourceSerializer.Meta.fields, "secret"]
        read_only_fields = fields

    def get_secret(self, source: Source) -> str:
        """Return the new secret."""
        secret: str = self.context["secret"]
        return secret


class SourceChangesSerializer(RequestBody):
    """The parts of a source that can be changed."""

    shown_as = SourceSerializer

    name = serializers.CharField(max_length=NAME_LIMIT)
    allowed_cidrs = serializers.ListField(
        child=serializers.CharField(max_length=64),
        max_length=NETWORK_LIMIT,
        required=False,
    )
    rate_limit_per_s = serializers.IntegerField(
        min_value=1, max_value=RATE_LIMIT_PER_S, allow_null=True, required=False
    )
    register_devices = serializers.ChoiceField(UnknownDevices.choices, required=False)
    device_keys = serializers.BooleanField(
        required=False,
        help_text="Each device signs with a key of its own, derived from the secret.",
    )
    enabled = serializers.BooleanField(required=False)


class NewSourceSerializer(SourceChangesSerializer):
    """A source to create."""

    scheme = serializers.ChoiceField(Scheme.choices)


@extend_schema_serializer(component_name="SourceRotation")
class RotationSerializer(RequestBody):
    """How long the secrets before stay in force."""

    overlap_s = serializers.IntegerField(
        min_value=0, max_value=OVERLAP_LIMIT_S, default=DEFAULT_OVERLAP_S
    )


class RevokedDeviceSerializer(serializers.ModelSerializer[RevokedDevice]):
    """A device whose derived key signs no longer."""

    class Meta:
        model = RevokedDevice
        fields = ["device", "revoked_at"]
        read_only_fields = fields


class DeviceNameSerializer(RequestBody):
    """A device, as `X-Device-Id` names it."""

    device = serializers.CharField(max_length=DEVICE_LIMIT, trim_whitespace=False)
