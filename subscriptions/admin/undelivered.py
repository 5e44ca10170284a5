"""The page that says what has not arrived, and what must be done about it."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone

from subscriptions.queries.undelivered import COUNT_LIMIT, Dead, Held, undelivered
from tenants.actors import actor_of
from tenants.console.pages import TenantAdmin


def undelivered_page(page: TenantAdmin, request: HttpRequest) -> HttpResponse:
    """
    Show what was given up and what is held up, by endpoint.

    Raises: PermissionDenied.
    """
    if not page.has_view_permission(request):
        raise PermissionDenied
    now = timezone.now()
    found = undelivered(actor_of(request).tenant, now)
    return page.page(
        request,
        "console/undelivered.html",
        title="Undelivered",
        opts=None,
        now=now,
        found=found,
        dead=[_row(one) for one in found.dead],
        held=[_row(one) for one in found.held],
    )


def _row(one: Dead | Held) -> dict[str, Any]:
    return {"row": one, "count": counted(one.count), **_links(one)}


def _links(one: Dead | Held) -> dict[str, str]:
    names = ("change", "recover", "discard")
    return {
        name: reverse(f"admin:subscriptions_endpoint_{name}", args=[one.endpoint.pk])
        for name in names
    }


def counted(count: int) -> str:
    """Return a count as text, "more than" when it reached the bound of counting."""
    return f"{count:,}{'+' if count >= COUNT_LIMIT else ''}"
