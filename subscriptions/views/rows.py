"""What all views of the app share: the caller's rows, by public id."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet
from rest_framework import mixins, serializers
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from tenants.actors import Actor, actor_of
from tenants.bodies import RequestBody, given
from tenants.identifiers import IdentifierInvalid, parse_public_id
from tenants.models import Role, Tenant
from tenants.problems import NotFound

Row = TypeVar("Row", bound=Model)
Other = TypeVar("Other", bound=Model)
Shape = type[serializers.Serializer[Any]]


def by_id(rows: QuerySet[Other], prefix: str, text: str) -> Other:
    """
    Return the row with this public id.

    Raises: NotFound: it is not among these, or no id at all.
    """
    try:
        wanted: UUID = parse_public_id(prefix, text)
    except IdentifierInvalid as error:
        raise NotFound(str(error)) from error
    found = rows.filter(pk=wanted).first()
    if found is None:
        raise NotFound(f"There is no {text}.")
    return found


class TenantRows(mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet[Row]):
    """Rows of the caller's tenant, found by public id; no clerk reads them."""

    read_roles: ClassVar[set[Role]] = {Role.ADMIN, Role.AUDITOR}
    id_prefix: ClassVar[str]
    #: What a list is asked by beside its filters.
    query_parameters: ClassVar[tuple[str, ...]] = ()
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
        return by_id(self.get_queryset(), self.id_prefix, self.kwargs["id"])

    def given(self, shape: type[RequestBody]) -> dict[str, Any]:
        """Return the request's body, checked."""
        return given(self.request, shape)

    def page_of(self, rows: QuerySet[Any], shape: Shape) -> Response:
        """Return a page of rows that belong to the one that the URL names."""
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(shape(page, many=True).data)

    def whole(self, results: list[Mapping[str, Any]]) -> Response:
        """Return a short list as one page, in the form of all lists."""
        return Response({"next": None, "previous": None, "results": results})
