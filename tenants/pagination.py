"""Cursor pages: stable while rows arrive, and as fast on the last page as the first."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import DataError
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request

from tenants.known_names import refuse_unknown_parameters

if TYPE_CHECKING:
    from rest_framework.views import APIView


class CursorPages(CursorPagination):
    """Pages whose cursor may be anything, of lists that know what they are asked by."""

    page_size_query_param = "page_size"
    max_page_size = 500
    invalid_cursor_message = "cursor: follow `next` and `previous` as they are."

    def paginate_queryset(
        self, queryset: Any, request: Request, view: "APIView | None" = None
    ) -> list[Any] | None:
        """
        Return the page that the cursor names.

        Raises: NotFound: the cursor is none of this list. ValidationError: a parameter
        is none of the list's.
        """
        refuse_unknown_parameters(request, self._parameters(queryset, view))
        try:
            return super().paginate_queryset(queryset, request, view)
        except (ValidationError, ValueError, DataError) as error:
            # The position in it is compared with a column: an id, a day, a time.
            if self.cursor_query_param not in request.query_params:
                raise
            raise NotFound(self.invalid_cursor_message) from error

    def _parameters(self, queryset: Any, view: Any) -> Iterator[str]:
        """Return the names of all that the list may be asked by."""
        yield from (self.cursor_query_param, self.page_size_query_param)
        yield from getattr(view, "query_parameters", ())
        for backend in view.filter_backends:
            filterset = backend().get_filterset_class(view, queryset)
            yield from filterset.base_filters if filterset else ()


class NewestFirst(CursorPages):
    """Newest first, by id."""

    ordering = "-id"
