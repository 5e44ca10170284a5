"""What belongs to one endpoint: consent steps, maintenance windows, portal links."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from subscriptions.models import Endpoint
from subscriptions.queries.endpoints import (
    consent_steps,
    portal_links,
    windows_ahead,
)
from subscriptions.serializers.belongings import (
    ConsentStepSerializer,
    NewPortalLinkSerializer,
    NewWindowSerializer,
    PortalLinkSerializer,
    PortalLinkWithUrlSerializer,
    WindowSerializer,
)
from subscriptions.services.portal import create_portal_link, revoke_portal_link
from subscriptions.services.windows import end_window, schedule_window
from subscriptions.views.rows import TenantRows, by_id
from tenants.database import console_clock


class EndpointActions(TenantRows[Endpoint]):
    """Where the actions on one endpoint find it, and who acts."""

    def subject(self) -> dict[str, Any]:
        """Return what every service on an endpoint is told first."""
        return {
            "tenant": self.actor.tenant,
            "actor": self.actor,
            "endpoint": self.get_object(),
        }


class ConsentActions(EndpointActions):
    """How the receiver was asked, and what it said."""

    @extend_schema(responses=ConsentStepSerializer(many=True))
    @action(
        detail=True,
        url_path="consent-steps",
        serializer_class=ConsentStepSerializer,
        filterset_fields=[],
    )
    def consent_steps(self, request: Request, id: str) -> Response:
        """List the steps of its handshakes, the newest first."""
        found = consent_steps(self.actor.tenant, self.get_object())
        return self.page_of(found, ConsentStepSerializer)


class WindowActions(EndpointActions):
    """Times in which the endpoint's messages wait."""

    @extend_schema(responses=WindowSerializer(many=True))
    @action(
        detail=True,
        url_path="windows",
        serializer_class=WindowSerializer,
        filterset_fields=[],
    )
    def windows(self, request: Request, id: str) -> Response:
        """List the maintenance windows that are not over."""
        found = windows_ahead(self.actor.tenant, self.get_object(), console_clock())
        return self.page_of(found, WindowSerializer)

    @extend_schema(request=NewWindowSerializer, responses={201: WindowSerializer})
    @windows.mapping.post
    def schedule_window(self, request: Request, id: str) -> Response:
        """Have messages wait for a while, without spending attempts."""
        wanted = self.given(NewWindowSerializer)
        window = schedule_window(**self.subject(), now=console_clock(), **wanted)
        shown = WindowSerializer(window).data
        return Response(shown, status=status.HTTP_201_CREATED)

    @extend_schema(request=None, responses={204: None})
    @action(
        detail=True,
        methods=["delete"],
        url_path=r"windows/(?P<window_id>[^/]+)",
        url_name="window",
    )
    def end_window(self, request: Request, id: str, window_id: str) -> Response:
        """End a window now, or call off one that has not begun."""
        now = console_clock()
        mine = windows_ahead(self.actor.tenant, self.get_object(), now)
        end_window(
            tenant=self.actor.tenant,
            actor=self.actor,
            window=by_id(mine, "mw", window_id),
            now=now,
        )
        return Response(status=status.HTTP_204_NO_CONTENT)


class PortalLinkActions(EndpointActions):
    """Short-lived ways in for a subscriber's engineer."""

    @extend_schema(responses=PortalLinkSerializer(many=True))
    @action(
        detail=True,
        url_path="portal-links",
        serializer_class=PortalLinkSerializer,
        filterset_fields=[],
    )
    def portal_links(self, request: Request, id: str) -> Response:
        """List the links that still open the portal, the newest first."""
        found = portal_links(self.actor.tenant, self.get_object(), console_clock())
        return self.page_of(found, PortalLinkSerializer)

    @extend_schema(
        request=NewPortalLinkSerializer, responses={201: PortalLinkWithUrlSerializer}
    )
    @portal_links.mapping.post
    def create_portal_link(self, request: Request, id: str) -> Response:
        """Make a link to this endpoint's portal; its address is in this reply alone."""
        wanted = self.given(NewPortalLinkSerializer)
        link, token = create_portal_link(
            **self.subject(), now=console_clock(), **wanted
        )
        link.refresh_from_db()
        shape = PortalLinkWithUrlSerializer(link, context={"token": token})
        return Response(shape.data, status=status.HTTP_201_CREATED)

    @extend_schema(request=None, responses={204: None})
    @action(
        detail=True,
        methods=["delete"],
        url_path=r"portal-links/(?P<link_id>[^/]+)",
        url_name="portal-link",
    )
    def revoke_portal_link(self, request: Request, id: str, link_id: str) -> Response:
        """End a link at once, with every page that it opened."""
        now = console_clock()
        mine = portal_links(self.actor.tenant, self.get_object(), now)
        revoke_portal_link(
            tenant=self.actor.tenant,
            actor=self.actor,
            link=by_id(mine, "pl", link_id),
            now=now,
        )
        return Response(status=status.HTTP_204_NO_CONTENT)
