"""The API of endpoints, messages and deliveries: admins write, auditors read."""

from typing import Any, ClassVar, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from subscriptions.catalogue import CATALOGUE
from subscriptions.filters import DeliveryFilter, MessageFilter
from subscriptions.models import Delivery, Endpoint, Message
from subscriptions.queries.deliveries import attempts_of, deliveries_of, messages_of
from subscriptions.queries.endpoints import endpoints_of
from subscriptions.serializers import (
    DeliverySerializer,
    DeliveryWithAttemptsSerializer,
    EndpointChangesSerializer,
    EndpointSerializer,
    EndpointWithSecretSerializer,
    EventTypeSerializer,
    EventTypesSerializer,
    MessageSerializer,
    NewEndpointSerializer,
    RecoveredSerializer,
    RecoverySerializer,
    RotationSerializer,
)
from subscriptions.services import endpoints
from subscriptions.services.deliveries import retry_delivery
from subscriptions.services.redelivering import RECOVER_DEFAULT, recover
from tenants.actors import Actor, actor_of
from tenants.identifiers import IdentifierInvalid, parse_public_id
from tenants.models import Role, Tenant
from tenants.problems import NotFound

Row = TypeVar("Row", bound=Model)


class TenantRows(mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet[Row]):
    """Rows of the caller's tenant, found by public id; no clerk reads them."""

    read_roles: ClassVar[set[Role]] = {Role.ADMIN, Role.AUDITOR}
    id_prefix: ClassVar[str]
    lookup_url_kwarg = "id"
    lookup_value_regex = "[^/]+"

    @property
    def actor(self) -> Actor:
        """Who asks."""
        return actor_of(self.request)

    def rows(self, tenant: Tenant) -> QuerySet[Row]:
        """Return the tenant's rows."""
        raise NotImplementedError

    def get_queryset(self) -> QuerySet[Row]:
        """Return the caller's rows alone."""
        if getattr(self, "swagger_fake_view", False):
            return super().get_queryset().none()
        return self.rows(self.actor.tenant)

    def get_object(self) -> Row:
        """
        Return the row that the URL names.

        Raises: NotFound: it is not this tenant's, or no id at all.
        """
        try:
            wanted: UUID = parse_public_id(self.id_prefix, self.kwargs["id"])
        except IdentifierInvalid as error:
            raise NotFound(str(error)) from error
        found = self.get_queryset().filter(pk=wanted).first()
        if found is None:
            raise NotFound(f"There is no {self.kwargs['id']}.")
        return found

    def given(self, shape: type[serializers.Serializer[Any]]) -> dict[str, Any]:
        """Return the request's body, checked."""
        serializer = shape(data=self.request.data)
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)


class EndpointViewSet(TenantRows[Endpoint]):
    """Callback URLs."""

    queryset = Endpoint.objects.none()
    serializer_class = EndpointSerializer
    id_prefix = "ep"
    filterset_fields = ["status"]

    def rows(self, tenant: Tenant) -> QuerySet[Endpoint]:
        """Return the tenant's endpoints, without the deleted ones."""
        return endpoints_of(tenant)

    def _subject(self) -> dict[str, Any]:
        return {
            "tenant": self.actor.tenant,
            "actor": self.actor,
            "endpoint": self.get_object(),
        }

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
        endpoint, secret = endpoints.create_endpoint(
            tenant=self.actor.tenant,
            actor=self.actor,
            **self.given(NewEndpointSerializer),
        )
        return self._shown_once(endpoint, secret, status.HTTP_201_CREATED)

    @extend_schema(request=EndpointChangesSerializer, responses=EndpointSerializer)
    def partial_update(self, request: Request, id: str) -> Response:
        """Change an endpoint; another URL must consent again."""
        changes = self.given(EndpointChangesSerializer)
        return self._shown(
            endpoints.update_endpoint(**self._subject(), changes=changes)
        )

    def destroy(self, request: Request, id: str) -> Response:
        """Delete an endpoint; what waits for it is cancelled, its history stays."""
        endpoints.delete_endpoint(**self._subject(), now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=None, responses=EndpointSerializer)
    @action(detail=True, methods=["post"])
    def verify(self, request: Request, id: str) -> Response:
        """Ask the receiver for consent, soon; poll `status` for the answer."""
        return self._shown(endpoints.request_verification(**self._subject()))

    @extend_schema(request=None, responses=EndpointSerializer)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, id: str) -> Response:
        """Stop sending; messages wait."""
        return self._shown(endpoints.pause_endpoint(**self._subject()))

    @extend_schema(request=None, responses=EndpointSerializer)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, id: str) -> Response:
        """Let messages flow again."""
        return self._shown(endpoints.resume_endpoint(**self._subject()))

    @extend_schema(
        request=RotationSerializer, responses={200: EndpointWithSecretSerializer}
    )
    @action(detail=True, methods=["post"], url_path="rotate-secret")
    def rotate_secret(self, request: Request, id: str) -> Response:
        """Give a new secret; the old ones sign too until the overlap ends."""
        wanted = self.given(RotationSerializer)
        subject = self._subject()
        secret = endpoints.rotate_secret(**subject, now=timezone.now(), **wanted)
        return self._shown_once(subject["endpoint"], secret, status.HTTP_200_OK)

    @extend_schema(request=None, responses={202: DeliverySerializer})
    @action(detail=True, methods=["post"])
    def test(self, request: Request, id: str) -> Response:
        """Send `endpoint.test` to this endpoint alone."""
        delivery = endpoints.send_test(**self._subject(), now=timezone.now())
        shown = DeliverySerializer(delivery).data
        return Response(shown, status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=RecoverySerializer, responses={202: RecoveredSerializer})
    @action(detail=True, methods=["post"])
    def recover(self, request: Request, id: str) -> Response:
        """Try the messages that died since then, or in the last 7 days, again."""
        wanted = self.given(RecoverySerializer)
        now = timezone.now()
        since = wanted.get("since", now - RECOVER_DEFAULT)
        recovered = recover(**self._subject(), since=since, now=now).total
        return Response({"recovered": recovered}, status=status.HTTP_202_ACCEPTED)


class EventTypeView(APIView):
    """What can be subscribed to."""

    @extend_schema(responses=EventTypesSerializer)
    def get(self, request: Request) -> Response:
        """List every type of event, with an example of its data."""
        shown = EventTypeSerializer(list(CATALOGUE.values()), many=True).data
        return Response({"next": None, "previous": None, "results": shown})


class MessageViewSet(TenantRows[Message]):
    """Messages, with the JSON that endpoints are sent."""

    queryset = Message.objects.none()
    serializer_class = MessageSerializer
    filterset_class = MessageFilter
    id_prefix = "msg"

    def rows(self, tenant: Tenant) -> QuerySet[Message]:
        """Return the tenant's messages."""
        return messages_of(tenant)


class DeliveryViewSet(TenantRows[Delivery]):
    """Each message's way to each endpoint."""

    queryset = Delivery.objects.none()
    serializer_class = DeliverySerializer
    filterset_class = DeliveryFilter
    id_prefix = "dlv"

    def rows(self, tenant: Tenant) -> QuerySet[Delivery]:
        """Return the tenant's deliveries."""
        return deliveries_of(tenant)

    @extend_schema(responses=DeliveryWithAttemptsSerializer)
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Show a delivery and every attempt."""
        delivery = self.get_object()
        found = attempts_of(self.actor.tenant, delivery)
        shape = DeliveryWithAttemptsSerializer(delivery, context={"attempts": found})
        return Response(shape.data)

    @extend_schema(request=None, responses={202: DeliverySerializer})
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, id: str) -> Response:
        """Send the message again at once, under the same id."""
        delivery = retry_delivery(
            tenant=self.actor.tenant,
            actor=self.actor,
            delivery=self.get_object(),
            now=timezone.now(),
        )
        shown = DeliverySerializer(delivery).data
        return Response(shown, status=status.HTTP_202_ACCEPTED)
