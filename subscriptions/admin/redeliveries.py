"""Redeliveries: many messages sent again, and how far that has come."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest
from django.utils import timezone
from unfold.decorators import display

from subscriptions.admin.endpoints.detail import redelivery_row
from subscriptions.models import Redelivery, RedeliveryStatus
from subscriptions.services.redelivering import cancel_redelivery
from tenants.console.pages import Button, TenantAdmin, actor_and_tenant

_STATUS_LABELS = {"Running": "warning", "Completed": "success", "Cancelled": "info"}


@admin.register(Redelivery)
class RedeliveryAdmin(TenantAdmin):
    """Redeliveries."""

    detail_template = "console/redelivery.html"
    empty_title = "Nothing was sent again"
    empty_text = (
        "An endpoint's page can recover what was given up, and replay what was sent."
    )
    list_display = ("created_at", "kind", "endpoint", "state", "progress")
    list_select_related = ("endpoint",)
    list_filter = ("status", "kind")
    ordering = ("-id",)

    @display(description="Status", label=_STATUS_LABELS)
    def state(self, redelivery: Redelivery) -> str:
        """Return the status in its colour."""
        return RedeliveryStatus(redelivery.status).label

    @display(description="Sent")
    def progress(self, redelivery: Redelivery) -> str:
        """Return how far it has come."""
        return f"{redelivery.done:,} of {redelivery.total:,}"

    def detail(self, request: HttpRequest, thing: Redelivery) -> dict[str, Any]:
        """Return a redelivery, and when it will have caught up."""
        return redelivery_row(thing, timezone.now())

    def buttons(self, request: HttpRequest, thing: Redelivery) -> Sequence[Button]:
        """Return cancelling it, while it runs."""
        if thing.status != RedeliveryStatus.RUNNING:
            return ()
        question = "Cancel it? What was made due already is still sent."
        return (Button("cancel", "Cancel", "cancel", "danger", question),)

    def do_cancel(self, request: HttpRequest, thing: Redelivery) -> None:
        """End it where it stands."""
        cancel_redelivery(
            **actor_and_tenant(request), redelivery=thing, now=timezone.now()
        )
        messages.success(request, "It is cancelled.")
