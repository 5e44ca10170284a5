"""Messages: an event's exact bytes, and to whom they went."""

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from unfold.decorators import display

from subscriptions.admin.deliveries import payload
from subscriptions.admin.event_types import event_types_page
from subscriptions.admin.rows import delivery_row
from subscriptions.models import Message
from subscriptions.queries.deliveries import deliveries_of_messages
from tenants.actors import actor_of
from tenants.console.pages import TenantAdmin

#: A tenant has at most this many endpoints.
_MOST_DELIVERIES = 500


@admin.register(Message)
class MessageAdmin(TenantAdmin):
    """Messages."""

    detail_template = "console/message.html"
    empty_title = "No messages yet"
    empty_text = (
        "They appear here once something happens that an endpoint asked for: Endpoints "
        "says who is told of what."
    )
    list_display = ("created_at", "event_type", "name")
    ordering = ("-id",)

    @display(description="Id")
    def name(self, message: Message) -> str:
        """Return the id that subscribers see."""
        return message.public_id

    def detail(self, request: HttpRequest, thing: Message) -> dict[str, Any]:
        """Return a message with its way to each endpoint."""
        rows = deliveries_of_messages(actor_of(request).tenant, [thing.pk])
        found = rows.select_related("endpoint").order_by("pk")[:_MOST_DELIVERIES]
        return {
            "deliveries": [delivery_row(one) for one in found],
            "payload": payload(bytes(thing.body)),
        }

    def more_pages(self) -> Sequence[tuple[str, str, Callable[..., HttpResponse]]]:
        """Return the catalogue of event types."""
        return (("event-types/", "event_types", self.event_types_view),)

    def event_types_view(self, request: HttpRequest) -> HttpResponse:
        """Show every type of event."""
        return event_types_page(self, request)
