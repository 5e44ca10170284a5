"""Sending again: what was given up, a device's messages of a period, or some by id."""

from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from subscriptions.models import Redelivery
from subscriptions.queries.redeliveries import redeliveries_of
from subscriptions.serializers.deliveries import DiscardedSerializer, ReasonSerializer
from subscriptions.serializers.redeliveries import (
    RecoveredSerializer,
    RecoverySerializer,
    RedeliverySerializer,
    ReplaySerializer,
    ResentSerializer,
)
from subscriptions.services.deliveries import discard_all, resend_messages
from subscriptions.services.redelivering import (
    RECOVER_DEFAULT,
    cancel_redelivery,
    recover,
    replay,
)
from subscriptions.views.belongings import EndpointActions
from subscriptions.views.filters import RedeliveryFilter
from subscriptions.views.rows import TenantRows
from tenants.database import console_clock
from tenants.identifiers import IdentifierInvalid, parse_public_id
from tenants.models import Tenant


class RedeliveryActions(EndpointActions):
    """What is done with an endpoint's past messages."""

    @extend_schema(request=RecoverySerializer, responses={202: RecoveredSerializer})
    @action(detail=True, methods=["post"])
    def recover(self, request: Request, id: str) -> Response:
        """Try the messages that died since then, or in the last 7 days, again."""
        wanted = self.given(RecoverySerializer)
        now = console_clock()
        redelivery = recover(
            **self.subject(),
            since=wanted.get("since", now - RECOVER_DEFAULT),
            rate_per_s=wanted["rate_per_s"],
            now=now,
        )
        shown = RecoveredSerializer(redelivery).data
        return Response(shown, status=status.HTTP_202_ACCEPTED)

    @extend_schema(
        request=ReplaySerializer,
        responses={
            202: PolymorphicProxySerializer(
                component_name="Replayed",
                serializers=[RedeliverySerializer, ResentSerializer],
                resource_type_field_name=None,
            )
        },
    )
    @action(detail=True, methods=["post"])
    def replay(self, request: Request, id: str) -> Response:
        """Send messages again exactly as then: the same ids, the same bytes."""
        wanted = self.given(ReplaySerializer)
        subject, now = self.subject(), console_clock()
        named = wanted.pop("message_ids", None)
        if named is not None:
            resent = resend_messages(**subject, message_ids=_messages(named))
            shown: Any = ResentSerializer(resent).data
        else:
            wanted.setdefault("until", now)
            shown = RedeliverySerializer(replay(**subject, **wanted, now=now)).data
        return Response(shown, status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=ReasonSerializer, responses=DiscardedSerializer)
    @action(detail=True, methods=["post"], url_path="discard-dead")
    def discard_dead(self, request: Request, id: str) -> Response:
        """Give up the endpoint's dead messages for good, 50,000 a call."""
        wanted = self.given(ReasonSerializer)
        discarded = discard_all(**self.subject(), now=console_clock(), **wanted)
        return Response({"discarded": discarded})


def _messages(texts: list[str]) -> list[UUID]:
    """Return the messages' ids; what is none is said by its place."""
    found: list[UUID] = []
    for place, text in enumerate(texts):
        try:
            found.append(parse_public_id("msg", text))
        except IdentifierInvalid as error:
            raise ValidationError(
                {"message_ids": {str(place): [str(error)]}}
            ) from error
    return found


class RedeliveryViewSet(TenantRows[Redelivery]):
    """What is being sent again, and how far it is."""

    queryset = Redelivery.objects.none()
    serializer_class = RedeliverySerializer
    filterset_class: ClassVar[type[RedeliveryFilter]] = RedeliveryFilter
    id_prefix = "rd"

    def rows(self, tenant: Tenant) -> QuerySet[Redelivery]:
        """Return the tenant's redeliveries."""
        return redeliveries_of(tenant)

    @extend_schema(request=None, responses=RedeliverySerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, id: str) -> Response:
        """End it where it stands; what it made due already is still sent."""
        redelivery = cancel_redelivery(
            tenant=self.actor.tenant,
            actor=self.actor,
            redelivery=self.get_object(),
            now=timezone.now(),
        )
        return Response(RedeliverySerializer(redelivery).data)
