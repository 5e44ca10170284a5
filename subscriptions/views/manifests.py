"""What a day had for an endpoint: manifests, and the messages of each."""

from datetime import date

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from subscriptions.queries.manifests import (
    deliveries_of_manifest,
    manifest_of,
    manifests_of,
)
from subscriptions.serializers.manifests import (
    ManifestMessageSerializer,
    ManifestSerializer,
)
from subscriptions.views.belongings import EndpointActions
from tenants.pagination import NewestFirst
from tenants.problems import NotFound


class LatestDayFirst(NewestFirst):
    """Manifests, the latest day first."""

    ordering = "-day_date"


class InOrderOfIds(NewestFirst):
    """Messages in the order in which the hash takes them."""

    ordering = "message_id"


class ManifestActions(EndpointActions):
    """From which a subscriber proves that it missed nothing."""

    @extend_schema(responses=ManifestSerializer(many=True))
    @action(
        detail=True,
        url_path="manifests",
        serializer_class=ManifestSerializer,
        pagination_class=LatestDayFirst,
        filterset_fields=[],
    )
    def manifests(self, request: Request, id: str) -> Response:
        """List the days that manifests told of, the latest first."""
        found = manifests_of(self.actor.tenant, self.get_object())
        return self.page_of(found, ManifestSerializer)

    @extend_schema(
        operation_id="endpoints_manifest_messages_list",
        parameters=[
            OpenApiParameter("day", date, OpenApiParameter.PATH),
            OpenApiParameter("device", str, description="Those about it alone"),
        ],
        responses=ManifestMessageSerializer(many=True),
    )
    @action(
        detail=True,
        url_path=r"manifests/(?P<day>[^/]+)",
        url_name="manifest",
        serializer_class=ManifestMessageSerializer,
        pagination_class=InOrderOfIds,
        filterset_fields=[],
        query_parameters=("device",),
    )
    def manifest(self, request: Request, id: str, day: str) -> Response:
        """List the messages of a day, in the order in which the hash takes them."""
        manifest = manifest_of(self.actor.tenant, self.get_object(), _day(day))
        if manifest is None:
            raise NotFound(f"There is no manifest of {day}.")
        device = request.query_params.get("device", "").replace("\0", "")
        found = deliveries_of_manifest(self.actor.tenant, manifest, device)
        return self.page_of(found, ManifestMessageSerializer)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise NotFound("A day here looks like 2026-11-01.") from error
