"""Deliveries: each message's way to each endpoint, and what a person does about it."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.decorators import display

from subscriptions.admin.endpoints.action_forms import DiscardForm
from subscriptions.admin.rows import (
    STATUS_LABELS,
    delivery_row,
    passed,
)
from subscriptions.admin.undelivered import undelivered_page
from subscriptions.models import Delivery, DeliveryStatus, Endpoint, MessageDevice
from subscriptions.origins import receipts_of
from subscriptions.queries.deliveries import search, waited_for
from subscriptions.queries.outcome_words import outcome_words
from subscriptions.queries.status_words import status_words
from subscriptions.queries.timeline import (
    Step,
    attempts_shown,
    origin_of,
    story,
    timeline,
)
from subscriptions.services import deliveries
from tenants.actors import actor_of
from tenants.console.pages import Button, TenantAdmin, actor_and_tenant
from tenants.database import console_clock

_BODY_SHOWN_BYTES = 16 * 1024
_DEVICES_SHOWN = 10
#: The filter that an endpoint's page links to.
_OF_ENDPOINT = "endpoint__id__exact"
#: What can still be given up for good.
_OPEN = {DeliveryStatus.PENDING, DeliveryStatus.DEAD}


@admin.register(Delivery)
class DeliveryAdmin(TenantAdmin):
    """Messages on their way to one endpoint each."""

    detail_template = "console/delivery.html"
    empty_title = "No messages yet"
    empty_text = (
        "They appear here once something happens that an endpoint asked for: Endpoints "
        "says who is told of what."
    )
    list_display = (
        "created_at",
        "event_type",
        "endpoint",
        "state",
        "attempts",
        "reason",
    )
    list_filter = ("status",)
    linked_by = frozenset({"endpoint__id"})
    #: Read for the page that is shown: joined before, the rows of an endpoint are
    #: taken for few, and a million given up are sorted for the first fifty.
    list_select_related = ()
    #: Any name: how it is searched is below.
    search_fields = ("message_id",)
    search_help_text = "Device, transaction id or any other id"
    list_before_template = "console/deliveries_of.html"  # type: ignore[assignment]  # unfold's default is None
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        """Return the tenant's deliveries, with their endpoints."""
        return super().get_queryset(request).prefetch_related("endpoint")

    @display(description="Status", label=STATUS_LABELS)
    def state(self, delivery: Delivery) -> str:
        """Return the status in its colour."""
        return status_words(delivery)[0]

    @display(description="Attempts")
    def attempts(self, delivery: Delivery) -> int:
        """Return how often it was tried."""
        return delivery.attempt_count

    @display(description="Last answer")
    def reason(self, delivery: Delivery) -> str:
        """Return the last answer in words."""
        return outcome_words(delivery.last_status_code, delivery.last_error)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """Show the list; where it is of one endpoint, of which."""
        page = super().changelist_view(request, extra_context)
        shown = getattr(page, "context_data", None)
        if shown is not None and _OF_ENDPOINT in request.GET:
            mine = Endpoint.objects.filter(tenant=actor_of(request).tenant)
            one = mine.filter(pk=request.GET[_OF_ENDPOINT]).first()
            shown["of_endpoint"] = one
        return page

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Delivery], search_term: str
    ) -> tuple[QuerySet[Delivery], bool]:
        """Find the newest deliveries that the whole text stands for, by indexes."""
        term = search_term.strip()
        if not term:
            return queryset, False
        tenant = actor_of(request).tenant
        one = request.GET.get(_OF_ENDPOINT)
        endpoint_id = UUID(one) if one else None
        found = search(tenant, term, receipts_of(tenant, term), endpoint_id)
        return queryset.filter(pk__in=[one.pk for one in found]), False

    # --- One -----------------------------------------------------------------
    def detail(self, request: HttpRequest, thing: Delivery) -> dict[str, Any]:
        """Return a delivery, from the device's callback to every attempt."""
        tenant = actor_of(request).tenant
        steps = timeline(tenant, thing)
        own = thing.body
        body = bytes(thing.message.body if own is None else own)
        return {
            "row": delivery_row(thing),
            "story": story(thing, attempts_shown(tenant, thing)),
            "steps": [_shown(step) for step in steps],
            "origin": origin_of(thing),
            "devices": _devices(thing),
            "waited_for": [
                {"device": device, **delivery_row(first)}
                for device, first in _before(thing)
            ],
            "payload": {**payload(body), "is_own": own is not None},
            "links": self._links(request, thing),
        }

    def _links(self, request: HttpRequest, thing: Delivery) -> list[dict[str, str]]:
        if thing.status not in _OPEN:
            return []
        return self.form_link(request, thing, "discard", "delete", "Discard")

    def buttons(self, request: HttpRequest, thing: Delivery) -> Sequence[Button]:
        """Return sending again; what was cancelled stays so."""
        if thing.status == DeliveryStatus.CANCELLED or thing.endpoint.deleted_at:
            return ()
        return (Button("retry", "Send again now", "send", "primary"),)

    def do_retry(self, request: HttpRequest, thing: Delivery) -> HttpResponse | None:
        """Send again now, under the same message id."""
        deliveries.retry_delivery(
            **actor_and_tenant(request), delivery=thing, now=console_clock()
        )
        messages.success(request, f"{thing.event_type} is due again now.")
        return None

    def more_pages(self) -> Sequence[tuple[str, str, Callable[..., HttpResponse]]]:
        """Return what is undelivered, and the form for discarding one."""
        return (
            ("undelivered/", "undelivered", self.undelivered_view),
            ("<uuid:object_id>/discard/", "discard", self.discard_view),
        )

    def undelivered_view(self, request: HttpRequest) -> HttpResponse:
        """Show what has not arrived, and what must be done about it."""
        return undelivered_page(self, request)

    def discard_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Ask why, and give one up for good."""
        thing = self.writable(request, str(object_id))

        def save(data: dict[str, Any]) -> HttpResponse:
            deliveries.discard_delivery(
                **actor_and_tenant(request), delivery=thing, now=console_clock(), **data
            )
            messages.success(request, "It is discarded.")
            return self.to_page(thing)

        return self.form_page(
            request,
            DiscardForm,
            save,
            thing=thing,
            title=f"Discard {thing}",
            intro="It is not sent any more. Its attempts and this reason stay.",
            submit="Discard",
        )


def payload(body: bytes) -> dict[str, Any]:
    """Return bytes for reading, with what tells them from others."""
    text, is_indented = _indented(body)
    return {
        "size": f"{len(body):,}",
        "digest": hashlib.sha256(body).hexdigest(),
        "text": text[:_BODY_SHOWN_BYTES],
        "is_indented": is_indented,
        "is_cut": len(text) > _BODY_SHOWN_BYTES,
    }


def _indented(body: bytes) -> tuple[str, bool]:
    if len(body) <= _BODY_SHOWN_BYTES:
        try:
            return msgspec.json.format(body, indent=2).decode(), True
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
    return body[: _BODY_SHOWN_BYTES + 1].decode("utf-8", "replace"), False


def _devices(delivery: Delivery) -> list[str]:
    named = MessageDevice.objects.filter(
        tenant=delivery.tenant_id, message=delivery.message_id
    )
    return list(named.values_list("device", flat=True)[:_DEVICES_SHOWN])


def _before(delivery: Delivery) -> list[tuple[str, Delivery]]:
    """Return what must end before the delivery is due; nothing: its turn has come."""
    is_behind = (
        delivery.status == DeliveryStatus.PENDING and delivery.next_attempt_at is None
    )
    return waited_for(delivery) if is_behind else []


def _shown(step: Step) -> dict[str, Any]:
    """Return what the page shows of a step."""
    return {
        "kind": step.kind,
        "at": step.at and timezone.localtime(step.at),
        "title": step.title,
        "detail": step.detail,
        "tone": step.tone,
        "attempt": step.attempt,
        "exchange": step.exchange,
        "since": _since(step),
    }


def _since(step: Step) -> str:
    """Return how long after the step before it was; empty: at once."""
    if step.at is None or step.wait is None or step.wait <= timedelta():
        return ""
    return passed(step.at - step.wait, step.at)
