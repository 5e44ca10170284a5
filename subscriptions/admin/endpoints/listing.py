"""Callback URLs: how each stands, and what can be done about it."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.text import Truncator
from unfold.decorators import display

from subscriptions.admin.endpoints.detail import bounded, endpoint_page, percent
from subscriptions.admin.endpoints.redelivering_pages import EndpointRedelivering
from subscriptions.admin.endpoints.settings_forms import EndpointForm
from subscriptions.admin.rows import TONES
from subscriptions.models import Breaker, Endpoint, EndpointStatus
from subscriptions.queries.health import Health, healths
from subscriptions.services import endpoints
from tenants.actors import actor_of
from tenants.console.pages import Button, actor_and_tenant

#: Of a URL in the list.
_SHOWN_CHARACTERS = 60
_STATUS_LABELS = {
    "Active": "success",
    "Pending": "warning",
    "Paused": "info",
    "Disabled": "danger",
}
_RESUME = (Button("resume", "Resume", "play_arrow", "primary"),)
_RUNNING = (
    Button("verify", "Ask for consent", "verified_user", place="consent"),
    Button("pause", "Pause", "pause"),
)
_KEEP = Button("keep", "Keep the old URL", "undo", place="consent")
_WITHDRAW = Button(
    "withdraw",
    "Withdraw",
    "remove_moderator",
    confirm="Withdraw the consent? Messages wait until the URL consents again.",
    place="consent",
)
_TEST = Button("test", "Send a test", "send")
_DELETE = Button(
    "delete",
    "Delete",
    "delete",
    "danger",
    "Delete this callback URL? Waiting messages to it are cancelled.",
)
#: Which part of the page leads to which form.
_FORMS = (
    ("", "edit", "edit", "Change"),
    ("", "recover", "restart_alt", "Recover"),
    ("settings", "edit", "edit", "Change"),
    ("settings", "credentials", "badge", "Credentials"),
    ("redeliveries", "recover", "restart_alt", "Recover what was given up"),
    ("redeliveries", "replay", "replay", "Replay what was sent"),
    ("redeliveries", "discard", "delete_sweep", "Discard what was given up"),
    ("windows", "window", "event_busy", "Plan a window"),
    ("secrets", "rotate", "key", "New secret"),
    ("portal", "portal", "link", "Make a link"),
)
_BREAKER_LABELS = {"Closed": "default", "Open": "danger", "Half open": "warning"}


@admin.register(Endpoint)
class EndpointAdmin(EndpointRedelivering):
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
    list_display = (
        "callback_url",
        "state",
        "consent",
        "success",
        "latency",
        "waiting",
        "given_up",
        "breaker_word",
        "last_error",
    )
    list_filter = ("status", "breaker")
    search_fields = ("url", "description")
    ordering = ("-id",)

    # --- The list ------------------------------------------------------------
    def get_queryset(self, request: HttpRequest) -> QuerySet[Endpoint]:
        """Return the endpoints that were not deleted."""
        return super().get_queryset(request).filter(deleted_at=None)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """Show the list, with how each one stands."""
        page = super().changelist_view(request, extra_context)
        changes = (getattr(page, "context_data", None) or {}).get("cl")
        if changes is not None:
            rows = list(changes.result_list)
            tenant = actor_of(request).tenant
            found = healths(tenant, [row.pk for row in rows])
            for row in rows:
                row.health = found[row.pk]
        return page

    @display(description="Callback URL", header=True)
    def callback_url(self, endpoint: Endpoint) -> tuple[str, str]:
        """Return the URL, and what it is for: their beginnings."""
        return (
            Truncator(endpoint.url).chars(_SHOWN_CHARACTERS),
            Truncator(endpoint.description).chars(_SHOWN_CHARACTERS),
        )

    @display(description="Status", label=_STATUS_LABELS)
    def state(self, endpoint: Endpoint) -> str:
        """Return the status in its colour."""
        return EndpointStatus(endpoint.status).label

    @display(description="Success")
    def success(self, endpoint: Endpoint) -> str:
        """Return the share of the latest attempts that succeeded."""
        return percent(_health(endpoint).success_rate)

    @display(description="Consent until")
    def consent(self, endpoint: Endpoint) -> Any:
        """Return the end of the lease; it is renewed before."""
        if endpoint.consented_at is None:
            return "none yet" if endpoint.consent_due_at else "none"
        ends_at = endpoint.consent_expires_at
        return timezone.localdate(ends_at) if ends_at else "granted"

    @display(description="Answers in (p50, p95)")
    def latency(self, endpoint: Endpoint) -> str:
        """Return within what time half of all answers came, and nearly all."""
        found = _health(endpoint)
        if found.p95_ms is None:
            return "–"  # noqa: RUF001 (an empty cell)
        return f"{found.p50_ms:,} / {found.p95_ms:,} ms"

    @display(description="Waiting")
    def waiting(self, endpoint: Endpoint) -> str:
        """Return how many messages wait."""
        return bounded(_health(endpoint).waiting)

    @display(description="Given up")
    def given_up(self, endpoint: Endpoint) -> str:
        """Return how many messages were given up."""
        return bounded(_health(endpoint).dead)

    @display(description="Breaker", label=_BREAKER_LABELS)
    def breaker_word(self, endpoint: Endpoint) -> str:
        """Return whether it is spared for failing."""
        return Breaker(endpoint.breaker).label

    @display(description="Last error")
    def last_error(self, endpoint: Endpoint) -> str:
        """Return what went wrong last, in words."""
        return _health(endpoint).last_error_words or "none"

    # --- One -----------------------------------------------------------------
    def detail(self, request: HttpRequest, thing: Endpoint) -> dict[str, Any]:
        """Return all that the endpoint's page shows."""
        return {
            "tone": TONES[EndpointStatus(thing.status)],
            "links": self._links(thing) if self.may_write(request) else (),
            "portal_link": self.take_link(request, thing),
            **endpoint_page(request, thing),
        }

    def buttons(self, request: HttpRequest, thing: Endpoint) -> Sequence[Button]:
        """Return what the endpoint's status allows."""
        stopped = thing.status in {EndpointStatus.PAUSED, EndpointStatus.DISABLED}
        flow = _RESUME if stopped else _RUNNING
        withdrawal = (_WITHDRAW,) if thing.consented_at else ()
        proposal = (_KEEP,) if thing.proposed_url else ()
        return (*flow, *proposal, *withdrawal, _TEST, _DELETE)

    def _links(self, thing: Endpoint) -> list[dict[str, str]]:
        return [
            {**self.link_to(thing, name, icon, label), "place": place}
            for place, name, icon, label in _FORMS
        ]

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
        if thing.status == EndpointStatus.ACTIVE:
            said = "A test is on its way; it appears in the log below."
        else:
            said = "A test waits in the log below, until messages flow."
        messages.success(request, said)

    def do_keep(self, request: HttpRequest, thing: Endpoint) -> None:
        """Give up the new URL that is being asked."""
        endpoints.update_endpoint(
            **actor_and_tenant(request), endpoint=thing, changes={"url": thing.url}
        )
        messages.success(request, "The URL in force stays; the new one is given up.")

    def do_withdraw(self, request: HttpRequest, thing: Endpoint) -> None:
        """Take the consent back."""
        endpoints.withdraw_consent(**actor_and_tenant(request), endpoint=thing)
        messages.success(request, "The consent is withdrawn: messages wait.")

    def do_delete(self, request: HttpRequest, thing: Endpoint) -> HttpResponse:
        """Delete an endpoint."""
        endpoints.delete_endpoint(
            **actor_and_tenant(request), endpoint=thing, now=timezone.now()
        )
        messages.success(request, f"{thing.url} is deleted.")
        return self.to_list()


def _health(endpoint: Endpoint) -> Health:
    """Return how a row of the list stands."""
    found: Health = endpoint.health  # type: ignore[attr-defined]  # set by changelist_view
    return found
