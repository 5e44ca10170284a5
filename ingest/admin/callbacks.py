"""The ledger of callbacks: every one that was acknowledged, and what became of it."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from unfold.decorators import display

from ingest.bodies import show_body
from ingest.downloads import body_file
from ingest.error_codes import FAILURES, meaning
from ingest.models import Callback, CallbackRejection, CallbackState, Source
from ingest.queries.rejections import body_of, history
from ingest.services.callbacks import BodyForgotten, take_body
from tenants.actors import actor_of
from tenants.console.pages import TenantAdmin, actor_and_tenant
from tenants.identifiers import IdentifierInvalid, parse_public_id
from tenants.models import AuditEntry, Tenant

_STATES = {
    CallbackState.ACCEPTED: ("Waiting", "warn"),
    CallbackState.PROCESSED: ("Processed", "good"),
    CallbackState.PARTLY_REJECTED: ("Partly rejected", "bad"),
    CallbackState.REJECTED: ("Rejected", "bad"),
}
#: What the audit trail's words mean to a person.
_DEEDS = {
    "callback.reprocessed": "Put back into the queue",
    "callback.discarded": "Discarded",
    "callback.reopened": "Opened again",
    "callback.body_downloaded": "Body downloaded",
}


def callback_page(tenant: Tenant, callback: Callback) -> dict[str, Any]:
    """Return what the page of a callback shows."""
    body = body_of(tenant=tenant, callback=callback)
    word, tone = _STATES[CallbackState(callback.state)]
    return {
        "callback": callback,
        "state": word,
        "tone": tone,
        "counts": counts(callback),
        "digest": bytes(callback.digest).hex(),
        "errors": [_error(one) for one in callback.errors or ()],
        "received_body": body,
        "body": show_body(bytes(body.body)) if body else None,
        "body_url": reverse("admin:ingest_callback_body", args=[callback.pk]),
        "history": [_deed(one) for one in history(tenant=tenant, callback=callback)],
    }


def _error(error: dict[str, Any]) -> dict[str, Any]:
    return {
        **error,
        "meaning": meaning(error["code"]).plain(),
        "failure": FAILURES.get(error["detail"], ""),
    }


def _deed(entry: AuditEntry) -> dict[str, Any]:
    return {
        "words": _DEEDS.get(entry.action, entry.action),
        "entry": entry,
        "reason": entry.detail.get("reason", ""),
    }


def counts(callback: Callback) -> list[tuple[str, int]]:
    """Return how many readings became what."""
    return [
        (name, getattr(callback, name))
        for name in ("stored", "unchanged", "corrected", "rejected")
    ]


def counts_in_words(callback: Callback) -> str:
    """Return how many readings became what, without what is none."""
    parts = [f"{count} {name}" for name, count in counts(callback) if count]
    return ", ".join(parts) or "none yet"


@admin.register(Callback)
class CallbackAdmin(TenantAdmin):
    """Every acknowledged callback."""

    detail_template = "console/callback.html"
    empty_title = "No callback yet"
    empty_text = "Post one to a source's URL: the source's page has an example."
    list_display = ("transaction_id", "source", "state_word", "readings", "received_at")
    list_select_related = ("source",)
    #: Any name: how it is searched is below.
    search_fields = ("transaction_id",)
    search_help_text = "The whole transaction id, or a receipt"
    ordering = ("-id",)

    @display(
        description="Status",
        label={
            "Waiting": "warning",
            "Processed": "success",
            "Partly rejected": "danger",
            "Rejected": "danger",
        },
    )
    def state_word(self, callback: Callback) -> str:
        """Return how far it has come."""
        return _STATES[CallbackState(callback.state)][0]

    @display(description="Readings")
    def readings(self, callback: Callback) -> str:
        """Return what became of its readings."""
        return counts_in_words(callback)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Callback], search_term: str
    ) -> tuple[QuerySet[Callback], bool]:
        """Find one transaction id or receipt: both by an index."""
        term = search_term.strip()
        if not term:
            return queryset, False
        return queryset.filter(**named(actor_of(request).tenant, term)), False

    def detail(self, request: HttpRequest, thing: Callback) -> dict[str, Any]:
        """Return a callback."""
        tenant = actor_of(request).tenant
        rejection = CallbackRejection.objects.filter(tenant=tenant, pk=thing.pk)
        return {**callback_page(tenant, thing), "rejection": rejection.first()}

    def more_pages(self) -> Sequence[tuple[str, str, Callable[..., HttpResponse]]]:
        """Return the body as a file."""
        return (("<uuid:object_id>/body/", "body", self.body_view),)

    def body_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Hand out the whole body; the audit trail says to whom."""
        callback = self.own_object(request, str(object_id))
        try:
            body = take_body(**actor_and_tenant(request), callback=callback)
        except BodyForgotten as gone:
            messages.error(request, f"{gone.title}. {gone}")
            return self.to_page(callback)
        return body_file(callback, body)


def named(tenant: Tenant, term: str, prefix: str = "") -> dict[str, Any]:
    """Return the filter for one transaction id or receipt, which an index serves."""
    try:
        return {"pk": parse_public_id("rcp", term)}
    except IdentifierInvalid:
        ids = list(Source.objects.filter(tenant=tenant).values_list("pk", flat=True))
        return {f"{prefix}source_id__in": ids, f"{prefix}transaction_id": term}
