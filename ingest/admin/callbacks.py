"""The ledger of callbacks, and those that were set aside."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from unfold.decorators import display

from ingest.models import (
    Callback,
    CallbackBody,
    CallbackRejection,
    CallbackState,
    Source,
)
from ingest.services.callbacks import discard, reprocess
from tenants.actors import actor_of
from tenants.console.forms import ConsoleForm
from tenants.console.pages import Button, TenantAdmin, actor_and_tenant, refusable
from tenants.identifiers import IdentifierInvalid, parse_public_id

_BODY_SHOWN_BYTES = 16 * 1024
#: Callbacks that one press of the button processes again.
_AT_ONCE = 1000
_STATES = {
    CallbackState.ACCEPTED: ("Waiting", "warn"),
    CallbackState.PROCESSED: ("Processed", "good"),
    CallbackState.PARTLY_REJECTED: ("Partly rejected", "bad"),
    CallbackState.REJECTED: ("Rejected", "bad"),
}


def _callback(callback: Callback) -> dict[str, Any]:
    """Return what the page of a callback shows."""
    # By its time too, which names the one partition that it can be in.
    body = CallbackBody.objects.filter(
        tenant=callback.tenant_id,
        callback_id=callback.pk,
        received_at=callback.received_at,
    ).first()
    raw = bytes(body.body) if body else b""
    word, tone = _STATES[CallbackState(callback.state)]
    return {
        "callback": callback,
        "state": word,
        "tone": tone,
        "counts": _counts(callback),
        "has_body": body is not None,
        "body": raw[:_BODY_SHOWN_BYTES].decode("utf-8", "replace"),
        "body_bytes": len(raw),
        "is_cut": len(raw) > _BODY_SHOWN_BYTES,
    }


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
        counts = _counts(callback)
        return (
            ", ".join(f"{count} {name}" for name, count in counts if count)
            or "none yet"
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Callback], search_term: str
    ) -> tuple[QuerySet[Callback], bool]:
        """Find one transaction id or receipt: both by an index."""
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            return queryset.filter(pk=parse_public_id("rcp", term)), False
        except IdentifierInvalid:
            sources = Source.objects.filter(tenant=actor_of(request).tenant)
            ids = list(sources.values_list("pk", flat=True))
            return queryset.filter(source_id__in=ids, transaction_id=term), False

    def detail(self, request: HttpRequest, thing: Callback) -> dict[str, Any]:
        """Return a callback."""
        rejection = CallbackRejection.objects.filter(
            tenant=thing.tenant_id, pk=thing.pk
        )
        return {**_callback(thing), "rejection": rejection.first()}


def _counts(callback: Callback) -> list[tuple[str, int]]:
    return [
        (name, getattr(callback, name))
        for name in ("stored", "unchanged", "corrected", "rejected")
    ]


class DiscardForm(ConsoleForm):
    """Why a callback is given up."""

    reason = forms.CharField(max_length=200, help_text="It stays in the audit trail.")


@admin.register(CallbackRejection)
class RejectionAdmin(TenantAdmin):
    """Callbacks that were set aside until a person decides."""

    detail_template = "console/callback.html"
    list_before_template = "console/rejected_actions.html"  # type: ignore[assignment]  # unfold's default is None
    empty_title = "Nothing was set aside"
    empty_text = "Callbacks with readings that cannot be stored appear here."
    list_display = ("code", "detail_text", "transaction", "source", "rejected_at")
    list_filter = ("code",)
    list_select_related = ("callback", "callback__source")
    ordering = ("-callback_id",)

    @display(description="Detail")
    def detail_text(self, rejection: CallbackRejection) -> str:
        """Return the reason's words."""
        return rejection.detail

    @display(description="Transaction id")
    def transaction(self, rejection: CallbackRejection) -> str:
        """Return the callback's id."""
        return rejection.callback.transaction_id

    @display(description="Source")
    def source(self, rejection: CallbackRejection) -> str:
        """Return whence it came."""
        return rejection.callback.source.name

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """Show the list, named as the sidebar names it."""
        context = {"title": "Rejected callbacks", "may_write": self.may_write(request)}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def detail(self, request: HttpRequest, thing: CallbackRejection) -> dict[str, Any]:
        """Return the callback, with what can be done."""
        return {
            **_callback(thing.callback),
            "rejection": thing,
            "links": self.form_link(request, thing, "discard", "delete", "Discard"),
        }

    def buttons(
        self, request: HttpRequest, thing: CallbackRejection
    ) -> Sequence[Button]:
        """Return processing it again."""
        return (Button("reprocess", "Process again", "replay", "primary"),)

    def do_reprocess(
        self, request: HttpRequest, thing: CallbackRejection
    ) -> HttpResponse:
        """Put one back in the queue."""
        reprocess(**actor_and_tenant(request), callback_ids=[thing.pk])
        messages.success(request, "It is processed again; look at Callbacks.")
        return self.to_list()

    def more_pages(self) -> Sequence[tuple[str, str, Callable[..., HttpResponse]]]:
        """Return the form for discarding, and the button for all."""
        return (
            ("reprocess-all/", "reprocess_all", self.reprocess_all_view),
            ("<uuid:object_id>/discard/", "discard", self.discard_view),
        )

    def reprocess_all_view(self, request: HttpRequest) -> HttpResponse:
        """Put the oldest ones back in the queue, so many at once."""
        if not self.may_write(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        oldest = self.get_queryset(request).order_by("callback_id")
        ids = list(oldest.values_list("callback_id", flat=True)[:_AT_ONCE])
        refusable(request, lambda: self._reprocess(request, ids))
        return self.to_list()

    def _reprocess(self, request: HttpRequest, ids: list[UUID]) -> None:
        count = reprocess(**actor_and_tenant(request), callback_ids=ids)
        messages.success(request, f"{count} callbacks are processed again.")

    def discard_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the form for discarding, and take it."""
        rejection = self.writable(request, str(object_id))

        def save(data: dict[str, Any]) -> HttpResponse:
            discard(
                **actor_and_tenant(request),
                callback_ids=[rejection.pk],
                reason=data["reason"],
            )
            messages.success(request, "It is discarded.")
            return self.to_list()

        return self.form_page(
            request,
            DiscardForm,
            save,
            title="Discard a rejected callback",
            intro="Its readings that were rejected are not stored. It stays in the "
            "ledger.",
            submit="Discard",
        )
