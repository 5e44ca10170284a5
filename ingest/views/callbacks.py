"""Callbacks over the API: their receipts, and what to do with the rejected ones."""

from uuid import UUID

from django.db.models import OuterRef, QuerySet
from django.http import HttpResponse
from django.utils import timezone
from django.utils.cache import get_conditional_response
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import mixins
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from ingest.downloads import body_etag, body_file
from ingest.models import Callback, Source
from ingest.receipts import STATUS_NAMES
from ingest.serializers.callbacks import CallbackSerializer, DiscardSerializer
from ingest.services.callbacks import (
    CallbackUnknown,
    discard,
    reopen,
    reprocess,
    take_body,
)
from ingest.views.parameters import ParameterInvalid
from tenants.actors import actor_of
from tenants.bodies import given
from tenants.identifiers import IdentifierInvalid, parse_public_id
from tenants.models import Role


class CallbackFilter(filters.FilterSet):
    """How the list of callbacks is narrowed."""

    transaction_id = filters.CharFilter(method="by_transaction_id", strip=False)
    source = filters.CharFilter(method="by_source", help_text="src_…")
    status = filters.ChoiceFilter(
        choices=[(name, name) for name in STATUS_NAMES], method="by_status"
    )

    class Meta:
        model = Callback
        fields: list[str] = []

    def by_transaction_id(
        self, rows: QuerySet[Callback], _name: str, value: str
    ) -> QuerySet[Callback]:
        """Keep those under this transaction id, one for each source at most."""
        # Naming the sources lets callback_transaction_unique serve it.
        sources = Source.objects.values("pk")
        return rows.filter(
            source_id__in=sources.filter(tenant=OuterRef("tenant")),
            transaction_id=value,
        )

    def by_source(
        self, rows: QuerySet[Callback], _name: str, value: str
    ) -> QuerySet[Callback]:
        """
        Keep the source's.

        Raises: ParameterInvalid.
        """
        try:
            return rows.filter(source_id=parse_public_id("src", value))
        except IdentifierInvalid as error:
            raise ParameterInvalid(f"source: {error}") from error

    def by_status(
        self, rows: QuerySet[Callback], _name: str, value: str
    ) -> QuerySet[Callback]:
        """Keep those that have come this far."""
        return rows.filter(state=STATUS_NAMES.index(value))


class CallbackViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet[Callback]
):
    """Every callback that was accepted, by its receipt."""

    queryset = Callback.objects.none()
    serializer_class = CallbackSerializer
    filterset_class = CallbackFilter
    read_roles = {Role.ADMIN, Role.AUDITOR}
    lookup_url_kwarg = "receipt"
    lookup_value_regex = "[^/]+"

    def get_queryset(self) -> QuerySet[Callback]:
        """Return the tenant's callbacks."""
        if getattr(self, "swagger_fake_view", False):
            return Callback.objects.none()
        return Callback.objects.filter(tenant=actor_of(self.request).tenant)

    def get_object(self) -> Callback:
        """
        Return the callback that the URL names.

        Raises: CallbackUnknown: it is not this tenant's, or no receipt at all.
        """
        found = self.get_queryset().filter(pk=self._id()).first()
        if found is None:
            raise CallbackUnknown(f"There is no {self.kwargs['receipt']}.")
        return found

    def _id(self) -> UUID:
        try:
            return parse_public_id("rcp", self.kwargs["receipt"])
        except IdentifierInvalid as error:
            raise CallbackUnknown(str(error)) from error

    @extend_schema(request=None, responses=CallbackSerializer)
    @action(detail=True, methods=["post"])
    def reprocess(self, request: Request, receipt: str) -> Response:
        """Process the callback again, from the bytes that were received."""
        actor = actor_of(request)
        callback = self.get_object()
        reprocess(tenant=actor.tenant, actor=actor, callback_ids=[callback.id])
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(request=DiscardSerializer, responses=CallbackSerializer)
    @action(detail=True, methods=["post"])
    def discard(self, request: Request, receipt: str) -> Response:
        """Leave the callback rejected; the audit trail keeps the reason."""
        actor = actor_of(request)
        callback = self.get_object()
        wanted = given(request, DiscardSerializer)
        discard(
            tenant=actor.tenant,
            actor=actor,
            callback_ids=[callback.id],
            reason=wanted["reason"],
            now=timezone.now(),
        )
        return Response(self.get_serializer(callback).data)

    @extend_schema(request=None, responses=CallbackSerializer)
    @action(detail=True, methods=["post"])
    def reopen(self, request: Request, receipt: str) -> Response:
        """Undo a discard: the callback waits for a decision again."""
        actor = actor_of(request)
        callback = self.get_object()
        reopen(tenant=actor.tenant, actor=actor, callback_ids=[callback.id])
        return Response(self.get_serializer(callback).data)

    @extend_schema(
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY},
    )
    @action(detail=True, methods=["get"])
    def body(self, request: Request, receipt: str) -> HttpResponse:
        """Return the raw body, byte for byte as it was received."""
        actor = actor_of(request)
        callback = self.get_object()
        known = get_conditional_response(request, etag=body_etag(callback))
        if known is not None:
            return known
        body = take_body(tenant=actor.tenant, actor=actor, callback=callback)
        return body_file(callback, body)
