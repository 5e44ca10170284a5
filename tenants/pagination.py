"""Cursor pages: stable while rows arrive, and as fast on the last page as the first."""

from rest_framework.pagination import CursorPagination


class NewestFirst(CursorPagination):
    """Newest first, by id."""

    ordering = "-id"
    page_size_query_param = "page_size"
    max_page_size = 500
