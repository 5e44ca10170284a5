"""Callbacks that were set aside: why, and what a person decides about them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from unfold.decorators import display

from ingest.admin.callbacks import callback_page, counts_in_words, named
from ingest.admin.decisions import DiscardForm, discard_page, reprocess_page
from ingest.bodies import named_devices
from ingest.error_codes import meaning
from ingest.models import CallbackRejection, Source
from ingest.queries.rejections import COUNT_LIMIT, open_by_code, small_bodies
from ingest.services.callbacks import discard, reopen, reprocess
from tenants.actors import actor_of
from tenants.console.pages import Button, TenantAdmin, actor_and_tenant

_SOURCES_OFFERED = 200
#: Callbacks that can be ticked in a list.
_MOST_TICKED = 200
Page = tuple[str, str, Callable[..., HttpResponse]]


class StatusFilter(admin.SimpleListFilter):
    """Those that wait for a decision, unless others are asked for."""

    title = "decision"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return what else can be asked for."""
        return [("discarded", "Discarded"), ("all", "All")]

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:  # type: ignore[override]  # its items are typed narrower than Django's own are
        """Return the links; the first one is what is shown unasked."""
        for value, words in ((None, "Waiting"), *self.lookup_choices):
            asked = {self.parameter_name: value} if value else {}
            yield {
                "selected": self.value() == value,
                "query_string": changelist.get_query_string(
                    asked, [self.parameter_name]
                ),
                "display": words,
            }

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[CallbackRejection]
    ) -> QuerySet[CallbackRejection]:
        """Keep what is asked for."""
        if self.value() == "all":
            return queryset
        return queryset.filter(discarded_at__isnull=self.value() != "discarded")


class CodeFilter(admin.SimpleListFilter):
    """Those of one reason."""

    title = "reason"
    parameter_name = "code"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the reasons that wait for a decision, and the one asked for."""
        tenant = actor_of(request).tenant
        codes = {one.code for one in open_by_code(tenant=tenant)}
        asked = request.GET.get(self.parameter_name)
        return [(code, code) for code in sorted(codes | ({asked} if asked else set()))]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[CallbackRejection]
    ) -> QuerySet[CallbackRejection]:
        """Keep what is asked for."""
        code = self.value()
        return queryset.filter(code=code) if code else queryset


class SourceFilter(admin.SimpleListFilter):
    """Those of one source."""

    title = "source"
    parameter_name = "source"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the tenant's sources."""
        rows = Source.objects.filter(tenant=actor_of(request).tenant).order_by("name")
        return [(one.public_id, one.name) for one in rows[:_SOURCES_OFFERED]]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[CallbackRejection]
    ) -> QuerySet[CallbackRejection]:
        """Keep what is asked for; of what is no source, nothing."""
        public_id = self.value()
        if not public_id:
            return queryset
        known = {one for one, _ in self.lookup_choices}
        if public_id not in known:
            return queryset.none()
        return queryset.filter(callback__source_id=UUID(hex=public_id[4:]))


@admin.register(CallbackRejection)
class RejectionAdmin(TenantAdmin):
    """Callbacks that were set aside until a person decides."""

    detail_template = "console/callback.html"
    list_before_template = "console/rejected_summary.html"  # type: ignore[assignment]  # unfold's default is None
    empty_title = "Nothing waits for a decision"
    empty_text = (
        "Callbacks with readings that cannot be stored, or that fail in processing, "
        "are kept here until somebody decides. Right now there are none."
    )
    list_display = ("why", "devices", "transaction", "readings", "received", "decision")
    list_filter = (StatusFilter, CodeFilter, SourceFilter)
    list_select_related = ("callback", "callback__source")
    #: Any name: how it is searched is below.
    search_fields = ("callback__transaction_id",)
    search_help_text = "The whole transaction id, or a receipt"
    ordering = ("-callback_id",)
    actions = ("reprocess_ticked", "discard_ticked")  # type: ignore[assignment]  # other pages offer none

    # --- The list ------------------------------------------------------------
    @display(description="Why", header=True)
    def why(self, rejection: CallbackRejection) -> tuple[str, str]:
        """Return the code, and the first detail."""
        return rejection.code, rejection.detail

    @display(description="Device")
    def devices(self, rejection: CallbackRejection) -> str:
        """Return whose readings they are, as far as that is known."""
        return ", ".join(getattr(rejection, "device_names", ())) or "unknown"

    @display(description="Callback", header=True)
    def transaction(self, rejection: CallbackRejection) -> tuple[str, str]:
        """Return the callback's id, and whence it came."""
        callback = rejection.callback
        return callback.transaction_id, callback.source.name

    @display(description="Readings")
    def readings(self, rejection: CallbackRejection) -> str:
        """Return what became of its readings."""
        return counts_in_words(rejection.callback)

    @display(description="Received", ordering="callback_id")
    def received(self, rejection: CallbackRejection) -> Any:
        """Return when it came."""
        return rejection.callback.received_at

    @display(
        description="Decision", label={"Waiting": "warning", "Discarded": "default"}
    )
    def decision(self, rejection: CallbackRejection) -> str:
        """Return what was decided."""
        return "Discarded" if rejection.discarded_at else "Waiting"

    def get_search_results(
        self,
        request: HttpRequest,
        queryset: QuerySet[CallbackRejection],
        search_term: str,
    ) -> tuple[QuerySet[CallbackRejection], bool]:
        """Find one transaction id or receipt: both by an index."""
        term = search_term.strip()
        if not term:
            return queryset, False
        tenant = actor_of(request).tenant
        return queryset.filter(**named(tenant, term, "callback__")), False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """Show the list under what waits, by reason."""
        context = {
            "title": "Rejected callbacks",
            "may_write": self.may_write(request),
            "summary": self._summary(request),
        }
        page = super().changelist_view(request, {**context, **(extra_context or {})})
        changes = (getattr(page, "context_data", None) or {}).get("cl")
        if changes is not None:
            _name_devices(request, list(changes.result_list))
        return page

    def _summary(self, request: HttpRequest) -> list[dict[str, Any]]:
        if request.GET.get("status"):
            return []
        counted = open_by_code(tenant=actor_of(request).tenant)
        most = max((one.count for one in counted), default=1)
        return [
            {
                "code": one.code,
                "count": f"{one.count:,}" + ("+" if one.count >= COUNT_LIMIT else ""),
                "percent": max(1, round(100 * one.count / most)),
                "meaning": meaning(one.code).plain(),
                "query": urlencode({"code": one.code}),
            }
            for one in counted
        ]

    # --- Those that are ticked -----------------------------------------------
    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Return what can be done with those ticked, for who may do it."""
        found: dict[str, Any] = super().get_actions(request)
        return found if self.may_write(request) else {}

    @admin.action(description="Process the selected ones again")
    def reprocess_ticked(
        self, request: HttpRequest, rows: QuerySet[CallbackRejection]
    ) -> HttpResponse:
        """Ask about processing them again."""
        return self._ask("reprocess_many", rows)

    @admin.action(description="Discard the selected ones")
    def discard_ticked(
        self, request: HttpRequest, rows: QuerySet[CallbackRejection]
    ) -> HttpResponse:
        """Ask why they are discarded."""
        return self._ask("discard_many", rows)

    def _ask(self, page: str, rows: QuerySet[CallbackRejection]) -> HttpResponse:
        ids = rows.values_list("callback_id", flat=True)[:_MOST_TICKED]
        asked = urlencode({"ids": ",".join(one.hex for one in ids)})
        return HttpResponseRedirect(
            f"{reverse(f'admin:{self._url_name(page)}')}?{asked}"
        )

    # --- One -----------------------------------------------------------------
    def detail(self, request: HttpRequest, thing: CallbackRejection) -> dict[str, Any]:
        """Return the callback, with what can be done."""
        tenant = actor_of(request).tenant
        is_open = thing.discarded_at is None
        return {
            **callback_page(tenant, thing.callback),
            "rejection": thing,
            "links": self.form_link(request, thing, "discard", "delete", "Discard")
            if is_open
            else [],
        }

    def buttons(
        self, request: HttpRequest, thing: CallbackRejection
    ) -> Sequence[Button]:
        """Return processing it again, or undoing the discard."""
        if thing.discarded_at is not None:
            return (Button("reopen", "Undo the discard", "undo"),)
        return (Button("reprocess", "Process again", "replay", "primary"),)

    def do_reprocess(
        self, request: HttpRequest, thing: CallbackRejection
    ) -> HttpResponse:
        """Put one back in the queue; its page is the ledger's from now on."""
        reprocess(**actor_and_tenant(request), callback_ids=[thing.pk])
        messages.success(request, "It is processed again: this page says how it ends.")
        return HttpResponseRedirect(
            reverse("admin:ingest_callback_change", args=[thing.pk])
        )

    def do_reopen(self, request: HttpRequest, thing: CallbackRejection) -> None:
        """Undo a discard."""
        reopen(**actor_and_tenant(request), callback_ids=[thing.pk])
        messages.success(request, "It waits for a decision again.")

    def more_pages(self) -> Sequence[Page]:
        """Return the form for discarding one, and the pages about many."""
        return (
            ("reprocess-many/", "reprocess_many", self.reprocess_many_view),
            ("discard-many/", "discard_many", self.discard_many_view),
            ("<uuid:object_id>/discard/", "discard", self.discard_view),
        )

    def reprocess_many_view(self, request: HttpRequest) -> HttpResponse:
        """Ask, and put many back in the queue, step by step."""
        return reprocess_page(self, request)

    def discard_many_view(self, request: HttpRequest) -> HttpResponse:
        """Ask why, and discard many, step by step."""
        return discard_page(self, request)

    def discard_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Show the form for discarding one, and take it."""
        rejection = self.writable(request, str(object_id))

        def save(data: dict[str, Any]) -> HttpResponse:
            discard(
                **actor_and_tenant(request),
                callback_ids=[rejection.pk],
                reason=data["reason"],
                now=timezone.now(),
            )
            messages.success(request, "It is discarded; its page can undo that.")
            return self.to_list()

        return self.form_page(
            request,
            DiscardForm,
            save,
            title="Discard a rejected callback",
            intro="Its rejected readings are not stored. The callback, its body and "
            "its errors stay as they are, and this can be undone.",
            submit="Discard",
        )


def _name_devices(request: HttpRequest, rows: Sequence[CallbackRejection]) -> None:
    """Find out whose readings the list's callbacks hold, with one question."""
    bodies = small_bodies(
        tenant=actor_of(request).tenant, callbacks=[row.callback for row in rows]
    )
    for row in rows:
        body = bodies.get(row.pk)
        if body is None:
            continue
        signed = [body.signed_by] if body.signed_by else []
        row.device_names = signed or named_devices(body.raw or b"")  # type: ignore[attr-defined]  # what the list alone shows
