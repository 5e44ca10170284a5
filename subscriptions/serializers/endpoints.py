"""The JSON of endpoints: what is shown of them, and what may be asked for."""

from typing import Any

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from subscriptions.batches import BATCH_LIMIT
from subscriptions.consent import RATE_LIMIT_PER_MIN
from subscriptions.filtering import DIMENSIONS
from subscriptions.http.addresses import URL_CHARACTERS
from subscriptions.models import Breaker, Endpoint, EndpointStatus, Payload
from subscriptions.services.endpoints import OVERLAP_DEFAULT_S, OVERLAP_LIMIT_S
from subscriptions.services.endpoints.settings import (
    BATCH_WAIT_LIMIT_S,
    CONCURRENCY_LIMIT,
    DESCRIPTION_CHARACTERS,
    EVENT_TYPES_LIMIT,
    EXTRA_SIGNATURES,
)
from tenants.bodies import ObjectField, RequestBody

#: What a client certificate, and an OAuth 2 client, are made of.
_CERTIFICATE = {
    "certificate": "PEM, the chain with the client's own first",
    "key": "PEM, not encrypted",
}
_OAUTH2 = {
    "token_url": "Where a token is asked for",
    "client_id": "",
    "client_secret": "Absent: the one that is kept, for the same URL and client",
    "scope": "Names apart by spaces",
}


def _object(members: dict[str, str]) -> dict[str, Any]:
    """Return the schema of an object with these texts, and no others."""
    return {
        "type": "object",
        "nullable": True,
        "properties": {
            name: {"type": "string", "description": words}
            for name, words in members.items()
        },
        "additionalProperties": False,
    }


@extend_schema_field(
    {
        "type": "object",
        "nullable": True,
        "properties": {
            name: {"type": "array", "items": {"type": "string"}} for name in DIMENSIONS
        },
        "additionalProperties": False,
        "example": {"devices": ["WM-*"], "commodities": ["water"]},
    }
)
class FiltersField(serializers.JSONField):
    """By dimension, what is let through; the service judges it."""


@extend_schema_field(
    {
        "type": "object",
        "nullable": True,
        "additionalProperties": {"type": "string"},
        "example": {"X-Api-Key": "…"},
    }
)
class HeadersField(serializers.JSONField):
    """Names and values; the service judges them."""


class ShownCertificateSerializer(serializers.Serializer[Any]):
    """A client certificate, without its key."""

    subject = serializers.CharField()
    expires_at = serializers.DateTimeField()


class ShownOAuth2Serializer(serializers.Serializer[Any]):
    """An OAuth 2 client, without its secret, and its token's state."""

    token_url = serializers.CharField()
    client_id = serializers.CharField()
    scope = serializers.CharField()
    token_expires_at = serializers.DateTimeField(allow_null=True)
    error = serializers.CharField()


@extend_schema_field(_object(_CERTIFICATE))
class CertificateField(ObjectField):
    """A client certificate with its key; the service judges it."""

    members = _CERTIFICATE
    shown = frozenset(ShownCertificateSerializer().fields)


@extend_schema_field(_object(_OAUTH2))
class OAuth2Field(ObjectField):
    """How a bearer token is asked for; the service judges it."""

    members = _OAUTH2
    shown = frozenset(ShownOAuth2Serializer().fields)


class ConsentSerializer(serializers.Serializer[Any]):
    """How the consent stands."""

    status = serializers.ChoiceField(
        ["granted", "asked", "none"], help_text="`asked`: again, at `next_at`"
    )
    consented_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True)
    next_at = serializers.DateTimeField(allow_null=True)
    rate_per_min = serializers.IntegerField(allow_null=True)


class EndpointSerializer(serializers.ModelSerializer[Endpoint]):
    """An endpoint, without anything secret."""

    id = serializers.CharField(source="public_id", read_only=True)
    status = serializers.ChoiceField(EndpointStatus.choices, read_only=True)
    payload = serializers.ChoiceField(Payload.choices, read_only=True)
    breaker = serializers.ChoiceField(Breaker.choices, read_only=True)
    ordered = serializers.BooleanField(source="is_ordered", read_only=True)
    manifest = serializers.BooleanField(source="has_manifest", read_only=True)
    filters = FiltersField(read_only=True)
    client_certificate = serializers.SerializerMethodField()
    oauth2 = serializers.SerializerMethodField()
    consent = serializers.SerializerMethodField()

    class Meta:
        model = Endpoint
        fields = [
            "id",
            "url",
            "proposed_url",
            "description",
            "event_types",
            "filters",
            "payload",
            "api_version",
            "ordered",
            "batch_size",
            "batch_wait_s",
            "manifest",
            "header_names",
            "client_certificate",
            "oauth2",
            "extra_signatures",
            "max_rate_per_min",
            "max_concurrency",
            "drain_rate_per_min",
            "status",
            "status_detail",
            "consent",
            "consented_at",
            "allowed_rate_per_min",
            "failing_since",
            "breaker",
            "hold_until",
            "hold_reason",
            "draining_since",
            "created_at",
        ]

    @extend_schema_field(ShownCertificateSerializer(allow_null=True))
    def get_client_certificate(self, endpoint: Endpoint) -> Any:
        """Return whose the certificate is, and its end; null: there is none."""
        if endpoint.certificate_expires_at is None:
            return None
        return ShownCertificateSerializer(
            {
                "subject": endpoint.certificate_subject,
                "expires_at": endpoint.certificate_expires_at,
            }
        ).data

    @extend_schema_field(ShownOAuth2Serializer(allow_null=True))
    def get_oauth2(self, endpoint: Endpoint) -> Any:
        """Return where tokens come from; null: no token is sent."""
        if not endpoint.oauth2_token_url:
            return None
        return ShownOAuth2Serializer(
            {
                "token_url": endpoint.oauth2_token_url,
                "client_id": endpoint.oauth2_client_id,
                "scope": endpoint.oauth2_scope,
                "token_expires_at": endpoint.oauth2_expires_at,
                "error": endpoint.oauth2_error,
            }
        ).data

    @extend_schema_field(ConsentSerializer())
    def get_consent(self, endpoint: Endpoint) -> Any:
        """Return how the consent stands."""
        status = "asked" if endpoint.consent_due_at is not None else "none"
        return ConsentSerializer(
            {
                "status": "granted" if endpoint.consented_at is not None else status,
                "consented_at": endpoint.consented_at,
                "expires_at": endpoint.consent_expires_at,
                "next_at": endpoint.consent_due_at,
                "rate_per_min": endpoint.allowed_rate_per_min,
            }
        ).data


class EndpointWithSecretSerializer(EndpointSerializer):
    """An endpoint and its new secret, which is shown this once."""

    secret = serializers.SerializerMethodField()

    class Meta(EndpointSerializer.Meta):
        fields = [*EndpointSerializer.Meta.fields, "secret"]

    def get_secret(self, endpoint: Endpoint) -> str:
        """Return what the view was given by the service."""
        return str(self.context["secret"])


def _number(highest: int) -> serializers.IntegerField:
    return serializers.IntegerField(
        min_value=1, max_value=highest, required=False, allow_null=True
    )


class EndpointSettingsSerializer(RequestBody):
    """What an endpoint may be given beside its URL; null is the default."""

    shown_as = EndpointSerializer

    filters = FiltersField(required=False, allow_null=True)
    payload = serializers.ChoiceField(
        choices=Payload.choices, required=False, allow_null=True
    )
    api_version = serializers.CharField(max_length=16, required=False, allow_null=True)
    ordered = serializers.BooleanField(required=False, allow_null=True)
    batch_size = _number(BATCH_LIMIT)
    batch_wait_s = _number(BATCH_WAIT_LIMIT_S)
    manifest = serializers.BooleanField(required=False, allow_null=True)
    headers = HeadersField(required=False, allow_null=True, write_only=True)
    client_certificate = CertificateField(
        required=False, allow_null=True, write_only=True
    )
    oauth2 = OAuth2Field(required=False, allow_null=True, write_only=True)
    extra_signatures = serializers.ListField(
        child=serializers.ChoiceField(choices=EXTRA_SIGNATURES),
        required=False,
        allow_null=True,
    )
    max_rate_per_min = _number(RATE_LIMIT_PER_MIN)
    max_concurrency = _number(CONCURRENCY_LIMIT)
    drain_rate_per_min = _number(RATE_LIMIT_PER_MIN)


class NewEndpointSerializer(EndpointSettingsSerializer):
    """What registers an endpoint."""

    # No URLField: the service judges the URL, and says what is wrong with it.
    url = serializers.CharField(max_length=URL_CHARACTERS)
    event_types = serializers.ListField(
        child=serializers.CharField(max_length=64), max_length=EVENT_TYPES_LIMIT
    )
    description = serializers.CharField(
        max_length=DESCRIPTION_CHARACTERS, allow_blank=True, default=""
    )


class EndpointChangesSerializer(EndpointSettingsSerializer):
    """What may be changed: absent stays, null is the default again."""

    url = serializers.CharField(max_length=URL_CHARACTERS, required=False)
    event_types = serializers.ListField(
        child=serializers.CharField(max_length=64),
        max_length=EVENT_TYPES_LIMIT,
        required=False,
    )
    description = serializers.CharField(
        max_length=DESCRIPTION_CHARACTERS,
        allow_blank=True,
        allow_null=True,
        required=False,
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Leave a client certificate that came back as it is shown, without its key."""
        wanted = attrs.get("client_certificate")
        if isinstance(wanted, dict) and wanted and not wanted.keys() & _CERTIFICATE:
            del attrs["client_certificate"]
        return attrs


@extend_schema_serializer(component_name="EndpointRotation")
class RotationSerializer(RequestBody):
    """How long the old secrets go on signing."""

    overlap_s = serializers.IntegerField(
        min_value=0, max_value=OVERLAP_LIMIT_S, default=OVERLAP_DEFAULT_S
    )


class HealthSerializer(serializers.Serializer[Any]):
    """How the endpoint took its latest attempts, and what waits for it."""

    #: Of how many attempts, since when.
    attempts = serializers.IntegerField()
    since = serializers.DateTimeField(allow_null=True)
    succeeded = serializers.IntegerField()
    #: From 0 to 1; null: there was no attempt.
    success_rate = serializers.FloatField(allow_null=True)
    p50_ms = serializers.IntegerField(allow_null=True)
    p95_ms = serializers.IntegerField(allow_null=True)
    waiting = serializers.IntegerField(
        help_text="10,000 at most; then there may be more"
    )
    oldest_waiting = serializers.DateTimeField(
        allow_null=True,
        help_text="Where more wait than are counted, another one may be older",
    )
    dead = serializers.IntegerField()
    last_error_words = serializers.CharField()
    last_error_at = serializers.DateTimeField(allow_null=True)
    last_success_at = serializers.DateTimeField(allow_null=True)
