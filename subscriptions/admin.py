"""Callback URLs, and what became of the messages to them."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from unfold.decorators import display

from subscriptions.catalogue import CATALOGUE
from subscriptions.models import (
    Attempt,
    Delivery,
    DeliveryStatus,
    Endpoint,
    EndpointStatus,
)
from subscriptions.services import deliveries, endpoints
from subscriptions.services.recovering import RECOVER_DEFAULT, recover
from tenants.console.forms import CheckboxList, ConsoleForm
from tenants.console.pages import Button, TenantAdmin, actor_and_tenant

_LOG_LENGTH = 25
_BODY_SHOWN_BYTES = 16 * 1024
_TONES = {
    EndpointStatus.ACTIVE: "good",
    EndpointStatus.PENDING: "warn",
    EndpointStatus.PAUSED: "quiet",
    EndpointStatus.DISABLED: "bad",
    DeliveryStatus.DELIVERED: "good",
    DeliveryStatus.DEAD: "bad",
    DeliveryStatus.CANCELLED: "quiet",
}
#: What the attempt log's words mean to a person; unknown ones are shown as they are.
_ERRORS = {
    "timeout": "No answer in time",
    "dns_error": "The host name was not found",
    "connection_refused": "Nothing listens there",
    "connection_failed": "The connection failed",
    "connection_reset": "The connection broke off",
    "tls_error": "The TLS certificate or handshake failed",
    "address_not_allowed": "The address is private and not allowed",
    "http_error": "The receiver refused it",
    "redirect": "The receiver answered with a redirect, which is not followed",
    "gone": "The receiver says it is gone for good",
}


class EndpointForm(ConsoleForm):
    """A new callback URL."""

    url = forms.URLField(
        label="Callback URL",
        max_length=2048,
        assume_scheme="https",
        help_text="It is asked for its consent before the first message.",
    )
    event_types = forms.MultipleChoiceField(widget=CheckboxList)
    description = forms.CharField(
        max_length=200, required=False, help_text="What it is for, in your words."
    )

    def fill_choices(self) -> None:
        """Offer the catalogue."""
        field = self.fields["event_types"]
        field.choices = [  # type: ignore[attr-defined]
            (kind.name, f"{kind.name}: {kind.description}")
            for kind in CATALOGUE.values()
        ]


@admin.register(Endpoint)
class EndpointAdmin(TenantAdmin):
    """Callback URLs."""

    add_form = EndpointForm
    add_intro = (
        "The platform asks the URL for its consent, then posts signed messages to it."
    )
    detail_template = "console/endpoint.html"
    empty_title = "Nobody is told yet"
    empty_text = (
        "Register a callback URL to hear of processed callbacks and issued invoices."
    )
    list_display = ("url", "state", "wanted", "status_detail", "created_at")
    list_filter = ("status",)
    search_fields = ("url", "description")
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Endpoint]:
        """Return the endpoints that were not deleted."""
        return super().get_queryset(request).filter(deleted_at=None)

    @display(
        description="Status",
        label={
            "Active": "success",
            "Pending": "warning",
            "Paused": "info",
            "Disabled": "danger",
        },
    )
    def state(self, endpoint: Endpoint) -> str:
        """Return the status in its colour."""
        return EndpointStatus(endpoint.status).label

    @display(description="Event types")
    def wanted(self, endpoint: Endpoint) -> str:
        """Return the first types, and how many more there are."""
        first = ", ".join(endpoint.event_types[:2])
        more = len(endpoint.event_types) - 2
        return f"{first} and {more} more" if more > 0 else first

    def detail(self, request: HttpRequest, thing: Endpoint) -> dict[str, Any]:
        """Return an endpoint and its newest deliveries."""
        newest = Delivery.objects.filter(
            tenant=thing.tenant_id, endpoint=thing
        ).order_by("-message_id")[:_LOG_LENGTH]
        return {
            "tone": _TONES[EndpointStatus(thing.status)],
            "deliveries": [_row(delivery) for delivery in newest],
        }

    def buttons(self, request: HttpRequest, thing: Endpoint) -> Sequence[Button]:
        """Return what the endpoint's status allows."""
        stopped = thing.status in {EndpointStatus.PAUSED, EndpointStatus.DISABLED}
        flow = (
            (Button("resume", "Resume", "play_arrow", "primary"),)
            if stopped
            else (
                Button("verify", "Ask for consent", "verified_user"),
                Button("pause", "Pause", "pause"),
            )
        )
        return (
            *flow,
            Button("test", "Send a test", "send"),
            Button("recover", "Retry what was given up", "restart_alt"),
            Button(
                "rotate",
                "New secret",
                "key",
                confirm="Make a new secret? The old one also signs for one more day.",
            ),
            Button(
                "delete",
                "Delete",
                "delete",
                "danger",
                "Delete this callback URL? Waiting messages to it are cancelled.",
            ),
        )

    def create(self, request: HttpRequest, data: dict[str, Any]) -> HttpResponse:
        """Register a callback URL, and show its secret once."""
        endpoint, secret = endpoints.create_endpoint(
            **actor_and_tenant(request),
            url=data["url"],
            event_types=data["event_types"],
            description=data["description"],
        )
        return self.show_once(request, endpoint, secret)

    def do_verify(self, request: HttpRequest, thing: Endpoint) -> None:
        """Ask for consent again."""
        endpoints.request_verification(**actor_and_tenant(request), endpoint=thing)
        messages.success(request, "The callback URL is being asked for its consent.")

    def do_pause(self, request: HttpRequest, thing: Endpoint) -> None:
        """Let messages wait."""
        endpoints.pause_endpoint(**actor_and_tenant(request), endpoint=thing)

    def do_resume(self, request: HttpRequest, thing: Endpoint) -> None:
        """Let messages flow again."""
        endpoints.resume_endpoint(**actor_and_tenant(request), endpoint=thing)

    def do_test(self, request: HttpRequest, thing: Endpoint) -> None:
        """Send a test."""
        endpoints.send_test(
            **actor_and_tenant(request), endpoint=thing, now=timezone.now()
        )
        messages.success(request, "A test is on its way; it appears in the log below.")

    def do_recover(self, request: HttpRequest, thing: Endpoint) -> None:
        """Send again what was given up in the last week."""
        count = recover(
            **actor_and_tenant(request),
            endpoint=thing,
            since=timezone.now() - RECOVER_DEFAULT,
        )
        messages.success(
            request,
            f"{count} deliveries of the last {RECOVER_DEFAULT.days} days are due "
            f"again.",
        )

    def do_rotate(self, request: HttpRequest, thing: Endpoint) -> HttpResponse:
        """Make a new secret, and show it once."""
        secret = endpoints.rotate_secret(
            **actor_and_tenant(request), endpoint=thing, now=timezone.now()
        )
        return self.show_once(request, thing, secret)

    def do_delete(self, request: HttpRequest, thing: Endpoint) -> HttpResponse:
        """Delete an endpoint."""
        endpoints.delete_endpoint(
            **actor_and_tenant(request), endpoint=thing, now=timezone.now()
        )
        messages.success(request, f"{thing.url} is deleted.")
        return self.to_list()


@admin.register(Delivery)
class DeliveryAdmin(TenantAdmin):
    """Messages on their way to one endpoint each."""

    detail_template = "console/delivery.html"
    empty_title = "No messages yet"
    empty_text = "They appear here once something happens that an endpoint asked for."
    list_display = (
        "created_at",
        "event_type",
        "endpoint",
        "state",
        "attempt_count",
        "reason",
    )
    list_filter = ("status",)
    list_select_related = ("endpoint",)
    ordering = ("-id",)

    @display(
        description="Status",
        label={
            "Delivered": "success",
            "Pending": "warning",
            "Dead": "danger",
            "Cancelled": "info",
        },
    )
    def state(self, delivery: Delivery) -> str:
        """Return the status in its colour."""
        return DeliveryStatus(delivery.status).label

    @display(description="Last answer")
    def reason(self, delivery: Delivery) -> str:
        """Return the last answer in words."""
        return outcome_words(delivery.last_status_code, delivery.last_error)

    def detail(self, request: HttpRequest, thing: Delivery) -> dict[str, Any]:
        """Return a delivery with every attempt."""
        attempts = Attempt.objects.filter(
            tenant=thing.tenant_id, delivery=thing
        ).order_by("-started_at")
        body = bytes(thing.message.body)
        return {
            "row": _row(thing),
            "attempts": [_attempt(attempt) for attempt in attempts],
            "body": body[:_BODY_SHOWN_BYTES].decode("utf-8", "replace"),
            "is_cut": len(body) > _BODY_SHOWN_BYTES,
        }

    def buttons(self, request: HttpRequest, thing: Delivery) -> Sequence[Button]:
        """Return sending again; what was cancelled stays so."""
        if thing.status == DeliveryStatus.CANCELLED:
            return ()
        return (Button("retry", "Send again now", "send", "primary"),)

    def do_retry(self, request: HttpRequest, thing: Delivery) -> HttpResponse | None:
        """Send again now, under the same message id."""
        deliveries.retry_delivery(
            **actor_and_tenant(request), delivery=thing, now=timezone.now()
        )
        messages.success(request, f"{thing.event_type} is due again now.")
        return None


def outcome_words(status_code: int | None, error: str) -> str:
    """Return an answer, or what came instead, in words."""
    words = _ERRORS.get(error, error.replace("_", " ").capitalize())
    return ": ".join(part for part in (str(status_code or ""), words) if part)


def _row(delivery: Delivery) -> dict[str, Any]:
    status = DeliveryStatus(delivery.status)
    failed = status == DeliveryStatus.PENDING and delivery.last_error
    return {
        "delivery": delivery,
        "href": reverse("admin:subscriptions_delivery_change", args=[delivery.pk]),
        "status": "Retrying" if failed else status.label,
        "tone": "bad" if failed else _TONES.get(status, "warn"),
        "outcome": outcome_words(delivery.last_status_code, delivery.last_error),
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "attempt": attempt,
        "is_good": not attempt.error,
        "outcome": outcome_words(attempt.status_code, attempt.error) or "Delivered",
        "excerpt": bytes(attempt.response_excerpt).decode("utf-8", "replace"),
    }
