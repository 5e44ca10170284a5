"""The API of messages and deliveries."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from subscriptions.models import Delivery, Message
from subscriptions.queries.deliveries import deliveries_of, messages_of
from subscriptions.queries.timeline import attempts_shown
from subscriptions.queries.undelivered import undelivered
from subscriptions.serializers.deliveries import (
    DeliverySerializer,
    DeliveryWithAttemptsSerializer,
    MessageSerializer,
    ReasonSerializer,
)
from subscriptions.serializers.undelivered import UndeliveredSerializer
from subscriptions.services.deliveries import discard_delivery, retry_delivery
from subscriptions.views.filters import DeliveryFilter, MessageFilter
from subscriptions.views.rows import TenantRows
from tenants.database import console_clock
from tenants.models import Tenant


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
        """
        Show a delivery, and its attempts with their requests and their responses.

        The newest 100 attempts, oldest first; `attempt_count` counts them all.
        """
        delivery = self.get_object()
        found = attempts_shown(self.actor.tenant, delivery)
        shape = DeliveryWithAttemptsSerializer(delivery, context={"attempts": found})
        return Response(shape.data)

    @extend_schema(responses=UndeliveredSerializer)
    @action(detail=False, pagination_class=None, filterset_class=None)
    def undelivered(self, request: Request) -> Response:
        """Say what is undelivered, and whether somebody must act on it."""
        found = undelivered(self.actor.tenant)
        return Response(UndeliveredSerializer(found).data)

    @extend_schema(request=None, responses={202: DeliverySerializer})
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, id: str) -> Response:
        """Send the message again at once, under the same id."""
        delivery = retry_delivery(
            tenant=self.actor.tenant,
            actor=self.actor,
            delivery=self.get_object(),
            now=console_clock(),
        )
        shown = DeliverySerializer(delivery).data
        return Response(shown, status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=ReasonSerializer, responses=DeliverySerializer)
    @action(detail=True, methods=["post"])
    def discard(self, request: Request, id: str) -> Response:
        """Give up a message that waits or is dead, for good."""
        delivery = discard_delivery(
            tenant=self.actor.tenant,
            actor=self.actor,
            delivery=self.get_object(),
            now=console_clock(),
            **self.given(ReasonSerializer),
        )
        return Response(DeliverySerializer(delivery).data)
