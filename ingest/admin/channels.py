"""Channels: when each was heard, by when it is due, and who is silent."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.decorators import display

from ingest.models import Channel
from ingest.queries.watches import with_watch
from ingest.services.thresholds import set_daily_threshold
from ingest.services.watches import LEAST_S, MOST_S, Which, watch_channel, watch_many
from ingest.units import plain
from tenants.console.forms import ConsoleForm
from tenants.console.pages import EVERYONE, TenantAdmin, actor_and_tenant

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
#: Channels that can be ticked in a list.
_MOST_TICKED = 200
Page = tuple[str, str, Callable[..., HttpResponse]]


def in_words(seconds: int | None) -> str:
    """Return an interval in the largest unit that measures it; empty: none."""
    if not seconds:
        return ""
    size, unit = next(pair for pair in _UNITS if seconds % pair[0] == 0)
    return f"{seconds // size} {unit}"


class WatchFilter(admin.SimpleListFilter):
    """Those that are silent, those that are watched, and the others."""

    title = "watch"
    parameter_name = "watch"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return what can be asked for."""
        return [("silent", "Silent"), ("yes", "Watched"), ("no", "Not watched")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Channel]
    ) -> QuerySet[Channel]:
        """Keep what is asked for."""
        if self.value() == "silent":
            return queryset.filter(watch__silent_since__isnull=False)
        if self.value() in {"yes", "no"}:
            return queryset.filter(expected_interval_s__isnull=self.value() == "no")
        return queryset


class WatchForm(ConsoleForm):
    """Within which time the next reading is expected."""

    expected_interval_s = forms.IntegerField(
        label="Expected interval in seconds",
        required=False,
        min_value=LEAST_S,
        max_value=MOST_S,
        help_text="Within which a callback with a reading comes, however late: 3600 is "
        "an hour, 90000 a day and an hour. Empty: silence is no news.",
    )


class ThresholdForm(ConsoleForm):
    """Above which usage of a day it is news."""

    daily_threshold = forms.DecimalField(
        label="Daily threshold",
        required=False,
        min_value=0,
        help_text="In the channel's unit, for a local day. Empty: no day is news.",
    )


class WatchManyForm(WatchForm):
    """The same, of many channels."""

    device_prefix = forms.CharField(
        label="Devices whose names begin with",
        required=False,
        max_length=255,
        strip=False,
        help_text="Empty: all devices.",
    )
    commodity = forms.CharField(
        required=False, max_length=32, help_text="Empty: any. electricity, gas, water …"
    )
    field_order = ("device_prefix", "commodity", "expected_interval_s")


@admin.register(Channel)
class ChannelAdmin(TenantAdmin):
    """The series of each device, and their silence."""

    read_roles = EVERYONE
    list_before_template = "console/watch_many.html"  # type: ignore[assignment]  # unfold's default is None
    empty_title = "No channel yet"
    empty_text = "A channel appears when its first reading was processed."
    list_display = (
        *("series", "kind", "commodity", "expected", "heard", "due", "silence"),
    )
    list_filter = (WatchFilter, "kind", "commodity")
    list_select_related = ("device",)
    search_fields = ("device__name__startswith", "code__startswith")
    search_help_text = "How a device's or channel's name begins"
    #: As channel_code_unique is sorted.
    ordering = ("device_id", "code", "kind")
    actions = ("watch_ticked",)  # type: ignore[assignment]  # other pages offer none

    # --- The list ------------------------------------------------------------
    def get_queryset(self, request: HttpRequest) -> QuerySet[Channel]:
        """Return the tenant's channels with what their watches say."""
        return with_watch(super().get_queryset(request))

    @display(description="Device", header=True)
    def series(self, channel: Channel) -> tuple[str, str]:
        """Return the device, and which of its channels it is."""
        return channel.device.name, channel.code

    @display(description="Expected within")
    def expected(self, channel: Channel) -> str:
        """Return the expected interval."""
        return in_words(channel.expected_interval_s) or "–"  # noqa: RUF001 (as every empty cell)

    @display(description="Last heard")
    def heard(self, channel: Channel) -> Any:
        """Return when a callback with its readings came, since it is watched."""
        return _watch(channel, "heard_at")

    @display(description="Due")
    def due(self, channel: Channel) -> Any:
        """Return by when it is called silent."""
        return _watch(channel, "due_at")

    @display(
        description="Silence",
        label={"Silent": "danger", "Heard": "success", "Not watched": "default"},
    )
    def silence(self, channel: Channel) -> str:
        """Return how it stands."""
        if channel.expected_interval_s is None:
            return "Not watched"
        return "Silent" if _watch(channel, "silent_since") else "Heard"

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Show the list under the link to watching many."""
        context = {"may_write": self.may_write(request), **(extra_context or {})}
        return super().changelist_view(request, context)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Return what can be done with those ticked, for who may do it."""
        found: dict[str, Any] = super().get_actions(request)
        return found if self.may_write(request) else {}

    @admin.action(description="Watch the selected ones for silence")
    def watch_ticked(
        self, request: HttpRequest, rows: QuerySet[Channel]
    ) -> HttpResponse:
        """Ask within which time they are expected."""
        ids = rows.values_list("pk", flat=True)[:_MOST_TICKED]
        page = reverse(f"admin:{self._url_name('watch_many')}")
        asked = urlencode({"ids": ",".join(map(str, ids))})
        return HttpResponseRedirect(f"{page}?{asked}")

    # --- One -----------------------------------------------------------------
    def detail(self, request: HttpRequest, thing: Channel) -> dict[str, Any]:
        """Return a channel, with what can be done."""
        facts = [
            ("Device", thing.device.name),
            ("Channel", thing.code),
            ("Kind", thing.get_kind_display()),
            ("Commodity", thing.commodity),
            ("Unit", thing.unit or None),
            ("Daily threshold", _with_unit(thing)),
            ("Expected within", in_words(thing.expected_interval_s) or None),
            ("Last heard", _watch(thing, "heard_at")),
            ("Due", _watch(thing, "due_at")),
            ("Silent since", _watch(thing, "silent_since")),
        ]
        links = [
            *self.form_link(
                request, thing, "watch", "notifications", "Watch for silence"
            ),
            *self.form_link(
                request, thing, "threshold", "trending_up", "Set a daily threshold"
            ),
        ]
        return {"facts": facts, "links": links}

    def more_pages(self) -> list[Page]:
        """Return the forms for watching one, and many, and for a threshold."""
        return [
            ("watch-many/", "watch_many", self.watch_many_view),
            ("<int:object_id>/watch/", "watch", self.watch_view),
            ("<int:object_id>/threshold/", "threshold", self.threshold_view),
        ]

    def watch_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Show the form for one, and take it."""
        channel = self.writable(request, str(object_id))

        def save(data: dict[str, Any]) -> HttpResponse:
            watch_channel(**actor_and_tenant(request), channel=channel, **data)
            messages.success(request, "Workers know it within 10 seconds.")
            return self.to_page(channel)

        return self.form_page(
            request,
            WatchForm,
            save,
            title=f"Watch {channel.device.name} / {channel.code} for silence",
            initial={"expected_interval_s": channel.expected_interval_s},
        )

    def threshold_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Show the form for a day's threshold, and take it."""
        channel = self.writable(request, str(object_id))

        def save(data: dict[str, Any]) -> HttpResponse:
            set_daily_threshold(**actor_and_tenant(request), channel=channel, **data)
            messages.success(request, "Days are judged by it as readings come.")
            return self.to_page(channel)

        threshold = channel.daily_threshold
        return self.form_page(
            request,
            ThresholdForm,
            save,
            title=f"Set the threshold of {channel.device.name} / {channel.code}",
            initial={
                "daily_threshold": None if threshold is None else plain(threshold)
            },
        )

    def watch_many_view(self, request: HttpRequest) -> HttpResponse:
        """Show the form for many, and take it."""
        self.require_writer(request)
        ids = [int(one) for one in request.GET.get("ids", "").split(",") if _is_id(one)]

        def save(data: dict[str, Any]) -> HttpResponse:
            seconds = data.pop("expected_interval_s")
            count = watch_many(
                **actor_and_tenant(request),
                which=Which(ids=ids, **data),
                expected_interval_s=seconds,
            )
            messages.success(request, f"{count:,} channels changed.")
            return self.to_list()

        return self.form_page(
            request,
            WatchForm if ids else WatchManyForm,
            save,
            title="Watch for silence",
            intro=f"{len(ids):,} selected channels."
            if ids
            else "All channels of these devices. Those that are watched already are "
            "given the new interval.",
        )

    def require_writer(self, request: HttpRequest) -> None:
        """Refuse who may not change channels."""
        if not self.may_write(request):
            raise PermissionDenied


def _with_unit(channel: Channel) -> str | None:
    threshold = channel.daily_threshold
    return None if threshold is None else f"{plain(threshold)} {channel.unit}".strip()


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def _watch(channel: Channel, name: str) -> Any:
    """Return what `with_watch` added."""
    return getattr(channel, name, None)
