"""Rejected callbacks over the API: which there are, and decisions about many."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins
from rest_framework.decorators import action
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from ingest.models import CallbackRejection
from ingest.queries.rejections import STATUSES, Choice, rejections
from ingest.serializers.rejections import (
    ChoiceSerializer,
    DiscardChoiceSerializer,
    RejectionSerializer,
    StepSerializer,
)
from ingest.services.callbacks import Step, discard_many, reprocess_many
from ingest.views.parameters import (
    ParameterInvalid,
    moment,
    one_of,
    optional,
    read_moment,
)
from tenants.actors import Actor, actor_of
from tenants.bodies import given
from tenants.identifiers import IdentifierInvalid, parse_public_id
from tenants.models import Role
from tenants.pagination import NewestFirst
from tenants.problems import Problem


class ChoiceMissing(Problem):
    """A decision about many says neither which ones nor that all are meant."""

    code = "choice_missing"
    title = "Which callbacks are meant?"


class NewestRejectionsFirst(NewestFirst):
    """Newest callbacks first."""

    ordering = "-callback_id"


_PARAMETERS = [
    OpenApiParameter("status", enum=STATUSES, default="open"),
    OpenApiParameter("code", OpenApiTypes.STR, description="device_unknown, …"),
    OpenApiParameter("source", OpenApiTypes.STR, description="src_…"),
    OpenApiParameter("since", OpenApiTypes.STR, description="Received from here on."),
    OpenApiParameter("until", OpenApiTypes.STR, description="Received before."),
]


class RejectionViewSet(mixins.ListModelMixin, GenericViewSet[CallbackRejection]):
    """Callbacks that were set aside until a person decides."""

    queryset = CallbackRejection.objects.none()
    serializer_class = RejectionSerializer
    pagination_class: type[BasePagination] = NewestRejectionsFirst
    filter_backends = ()
    query_parameters = [one.name for one in _PARAMETERS]
    read_roles = {Role.ADMIN, Role.AUDITOR}

    def get_queryset(self) -> QuerySet[CallbackRejection]:
        """
        Return the tenant's rejections that the parameters name.

        Raises: ParameterInvalid.
        """
        if getattr(self, "swagger_fake_view", False):
            return CallbackRejection.objects.none()
        request = self.request
        tenant = actor_of(request).tenant
        choice = Choice(
            code=optional(request, "code"),
            source_id=_id("source", "src", optional(request, "source")),
            since=moment(request, "since", tenant.zone),
            until=moment(request, "until", tenant.zone),
        )
        status = one_of(request, "status", STATUSES, "open")
        found = rejections(tenant=tenant, choice=choice, status=str(status))
        return found.select_related("callback")

    @extend_schema(parameters=_PARAMETERS)
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return those that wait for a decision, or were discarded."""
        return super().list(request, *args, **kwargs)

    @extend_schema(request=ChoiceSerializer, responses=StepSerializer)
    @action(detail=False, methods=["post"])
    def reprocess(self, request: Request) -> Response:
        """Process the oldest of them again; go on from `next` until it is null."""

        def decide(actor: Actor, choice: Choice, _wanted: dict[str, Any]) -> Step:
            return reprocess_many(tenant=actor.tenant, actor=actor, choice=choice)

        return _decide(request, ChoiceSerializer, decide)

    @extend_schema(request=DiscardChoiceSerializer, responses=StepSerializer)
    @action(detail=False, methods=["post"])
    def discard(self, request: Request) -> Response:
        """Leave the oldest of them rejected; go on from `next` until it is null."""

        def decide(actor: Actor, choice: Choice, wanted: dict[str, Any]) -> Step:
            return discard_many(
                tenant=actor.tenant,
                actor=actor,
                choice=choice,
                reason=wanted["reason"],
                now=timezone.now(),
            )

        return _decide(request, DiscardChoiceSerializer, decide)


def _decide(
    request: Request,
    shape: type[ChoiceSerializer],
    decide: Callable[[Actor, Choice, dict[str, Any]], Step],
) -> Response:
    wanted = given(request, shape)
    actor = actor_of(request)
    step = decide(actor, _choice(actor, wanted), wanted)
    return Response(StepSerializer(step).data)


def _choice(actor: Actor, wanted: dict[str, Any]) -> Choice:
    """
    Return which ones are meant.

    Raises: ParameterInvalid, ChoiceMissing.
    """
    choice = Choice(
        code=wanted.get("code") or None,
        source_id=_id("source", "src", wanted.get("source")),
        since=_moment("since", wanted, actor),
        until=_moment("until", wanted, actor),
        after=_id("after", "rcp", wanted.get("after")),
    )
    if choice.is_everything and not wanted.get("all"):
        raise ChoiceMissing('Name code, source, since or until, or say "all": true.')
    return choice


def _moment(name: str, wanted: dict[str, Any], actor: Actor) -> datetime | None:
    text = wanted.get(name)
    return read_moment(name, text, actor.tenant.zone) if text else None


def _id(name: str, prefix: str, text: str | None) -> UUID | None:
    """
    Return the id that a parameter names; None: it is absent.

    Raises: ParameterInvalid.
    """
    if not text:
        return None
    try:
        return parse_public_id(prefix, text)
    except IdentifierInvalid as error:
        raise ParameterInvalid(f"{name}: {error}") from error
