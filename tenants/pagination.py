"""Cursor pages: stable while rows arrive, and as fast on the last page as the first."""

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import DataError
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request

if TYPE_CHECKING:
    from rest_framework.views import APIView


class CursorPages(CursorPagination):
    """Pages whose cursor may be anything."""

    page_size_query_param = "page_size"
    max_page_size = 500
    invalid_cursor_message = "cursor: follow `next` and `previous` as they are."

    def paginate_queryset(
        self, queryset: Any, request: Request, view: "APIView | None" = None
    ) -> list[Any] | None:
        """
        Return the page that the cursor names.

        Raises: NotFound: the cursor is none of this list.
        """
        try:
            return super().paginate_queryset(queryset, request, view)
        except (ValidationError, ValueError, DataError) as error:
            # The position in it is compared with a column: an id, a day, a time.
            if self.cursor_query_param not in request.query_params:
                raise
            raise NotFound(self.invalid_cursor_message) from error


class NewestFirst(CursorPages):
    """Newest first, by id."""

    ordering = "-id"
