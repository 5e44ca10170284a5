"""The API of endpoints: admins write, auditors read."""

from typing import Any, cast

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from subscriptions.models import Endpoint
from subscriptions.queries.endpoints import endpoints_of
from subscriptions.queries.health import health
from subscriptions.serializers.deliveries import DeliverySerializer
from subscriptions.serializers.endpoints import (
    EndpointChangesSerializer,
    EndpointSerializer,
    EndpointWithSecretSerializer,
    HealthSerializer,
    NewEndpointSerializer,
    RotationSerializer,
)
from subscriptions.services import endpoints
from subscriptions.services.endpoints import EndpointSettings
from subscriptions.views.belongings import (
    ConsentActions,
    PortalLinkActions,
    WindowActions,
)
from subscriptions.views.manifests import ManifestActions
from subscriptions.views.redelivering import RedeliveryActions
from tenants.database import console_clock
from tenants.models import Tenant


class EndpointViewSet(
    ConsentActions,
    WindowActions,
    PortalLinkActions,
    RedeliveryActions,
    ManifestActions,
):
    """Callback URLs."""

    queryset = Endpoint.objects.none()
    serializer_class = EndpointSerializer
    id_prefix = "ep"
    filterset_fields = ["status"]

    def rows(self, tenant: Tenant) -> QuerySet[Endpoint]:
        """Return the tenant's endpoints, without the deleted ones."""
        return endpoints_of(tenant)

    def _shown(self, endpoint: Endpoint) -> Response:
        return Response(EndpointSerializer(endpoint).data)

    def _shown_once(self, endpoint: Endpoint, secret: str, code: int) -> Response:
        endpoint.refresh_from_db()
        shape = EndpointWithSecretSerializer(endpoint, context={"secret": secret})
        return Response(shape.data, status=code)

    @extend_schema(
        request=NewEndpointSerializer, responses={201: EndpointWithSecretSerializer}
    )
    def create(self, request: Request) -> Response:
        """Register a callback URL; its secret is in this reply alone."""
        wanted = self.given(NewEndpointSerializer)
        named = {name: wanted.pop(name) for name in ("url", "event_types")}
        description = wanted.pop("description")
        endpoint, secret = endpoints.create_endpoint(
            tenant=self.actor.tenant,
            actor=self.actor,
            **named,
            description=description,
            settings=cast(EndpointSettings, wanted),
        )
        return self._shown_once(endpoint, secret, status.HTTP_201_CREATED)

    @extend_schema(request=EndpointChangesSerializer, responses=EndpointSerializer)
    def partial_update(self, request: Request, id: str) -> Response:
        """Change an endpoint: what is absent stays, null is the default again."""
        changes = self.given(EndpointChangesSerializer)
        return self._shown(endpoints.update_endpoint(**self.subject(), changes=changes))

    def destroy(self, request: Request, id: str) -> Response:
        """Delete an endpoint; what waits for it is cancelled, its history stays."""
        endpoints.delete_endpoint(**self.subject(), now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(responses=HealthSerializer)
    @action(detail=True, filterset_fields=[])
    def health(self, request: Request, id: str) -> Response:
        """Show how it took its latest 1,000 attempts, and what waits for it."""
        found = health(self.actor.tenant, self.get_object())
        return Response(HealthSerializer(found).data)

    @extend_schema(request=None, responses=EndpointSerializer)
    @action(detail=True, methods=["post"])
    def verify(self, request: Request, id: str) -> Response:
        """Ask the receiver for consent, soon; poll `consent` for the answer."""
        return self._shown(endpoints.request_verification(**self.subject()))

    @extend_schema(request=None, responses=EndpointSerializer)
    @action(detail=True, methods=["post"], url_path="withdraw-consent")
    def withdraw_consent(self, request: Request, id: str) -> Response:
        """Take the consent back; messages wait until it is asked for anew."""
        return self._shown(endpoints.withdraw_consent(**self.subject()))

    @extend_schema(request=None, responses=EndpointSerializer)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, id: str) -> Response:
        """Stop sending; messages wait."""
        return self._shown(endpoints.pause_endpoint(**self.subject()))

    @extend_schema(request=None, responses=EndpointSerializer)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, id: str) -> Response:
        """Let messages flow again; what waited, at a bounded rate."""
        return self._shown(endpoints.resume_endpoint(**self.subject()))

    @extend_schema(
        request=RotationSerializer, responses={200: EndpointWithSecretSerializer}
    )
    @action(detail=True, methods=["post"], url_path="rotate-secret")
    def rotate_secret(self, request: Request, id: str) -> Response:
        """Give a new secret; the old ones sign too until the overlap ends."""
        wanted = self.given(RotationSerializer)
        subject = self.subject()
        secret = endpoints.rotate_secret(**subject, now=console_clock(), **wanted)
        return self._shown_once(subject["endpoint"], secret, status.HTTP_200_OK)

    @extend_schema(request=None, responses={202: DeliverySerializer})
    @action(detail=True, methods=["post"])
    def test(self, request: Request, id: str) -> Response:
        """Send `endpoint.test` to this endpoint alone."""
        delivery = endpoints.send_test(**self.subject(), now=timezone.now())
        shown = DeliverySerializer(delivery).data
        return Response(shown, status=status.HTTP_202_ACCEPTED)

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List the endpoints, the newest first."""
        return super().list(request, *args, **kwargs)
