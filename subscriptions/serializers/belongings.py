"""The JSON of what belongs to one endpoint: consent steps, windows, portal links."""

from rest_framework import serializers

from subscriptions.models import ConsentStep, MaintenanceWindow, PortalLink
from subscriptions.services.portal import (
    LIFETIME_DEFAULT_S,
    LIFETIME_LEAST_S,
    LIFETIME_LIMIT_S,
    NOTE_LENGTH,
    portal_url,
)
from subscriptions.services.windows import REASON_CHARACTERS
from tenants.bodies import RequestBody


class ConsentStepSerializer(serializers.ModelSerializer[ConsentStep]):
    """One step of a consent handshake."""

    status_code = serializers.IntegerField(allow_null=True)

    class Meta:
        model = ConsentStep
        fields = ["at", "step", "url", "status_code", "detail"]


class WindowSerializer(serializers.ModelSerializer[MaintenanceWindow]):
    """A maintenance window."""

    id = serializers.CharField(source="public_id", read_only=True)

    class Meta:
        model = MaintenanceWindow
        fields = ["id", "start_at", "end_at", "reason", "created_at"]


class NewWindowSerializer(RequestBody):
    """When messages wait, and why."""

    shown_as = WindowSerializer

    start_at = serializers.DateTimeField()
    end_at = serializers.DateTimeField()
    reason = serializers.CharField(
        max_length=REASON_CHARACTERS, allow_blank=True, default=""
    )


class PortalLinkSerializer(serializers.ModelSerializer[PortalLink]):
    """A link to the portal, without its token."""

    id = serializers.CharField(source="public_id", read_only=True)

    class Meta:
        model = PortalLink
        fields = ["id", "note", "created_by", "created_at", "expires_at"]


class PortalLinkWithUrlSerializer(PortalLinkSerializer):
    """A new link with its address, which is shown this once."""

    url = serializers.SerializerMethodField()

    class Meta(PortalLinkSerializer.Meta):
        fields = [*PortalLinkSerializer.Meta.fields, "url"]

    def get_url(self, link: PortalLink) -> str:
        """Return what to send to whom the link is for."""
        return portal_url(str(self.context["token"]))


class NewPortalLinkSerializer(RequestBody):
    """For whom the link is, and how long it opens."""

    shown_as = PortalLinkSerializer

    note = serializers.CharField(max_length=NOTE_LENGTH, allow_blank=True, default="")
    lifetime_s = serializers.IntegerField(
        min_value=LIFETIME_LEAST_S,
        max_value=LIFETIME_LIMIT_S,
        default=LIFETIME_DEFAULT_S,
    )
