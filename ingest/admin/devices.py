"""Devices, and what they used."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest
from django.utils import timezone
from unfold.decorators import display

from ingest.models import Channel, Device, DeviceStatus, Usage
from ingest.services.devices import approve_device, quarantine_device
from ingest.units import exact_sum, plain
from tenants.console.charts import ChartDay, coverage_chart, usage_chart
from tenants.console.pages import EVERYONE, Button, TenantAdmin, actor_and_tenant

_MONTHS_OFFERED = 60
_ENOUGH_DAYS = 31


@admin.register(Device)
class DeviceAdmin(TenantAdmin):
    """Meters."""

    read_roles = EVERYONE
    detail_template = "console/device.html"
    empty_title = "No device yet"
    empty_text = "A device appears when its first callback was processed."
    list_display = ("name", "state", "created_at")
    list_filter = ("status",)
    search_fields = ("name",)
    ordering = ("name",)

    @display(
        description="Status", label={"Active": "success", "Quarantined": "warning"}
    )
    def state(self, device: Device) -> str:
        """Return the status in its colour."""
        return DeviceStatus(device.status).label

    def buttons(self, request: HttpRequest, thing: Device) -> Sequence[Button]:
        """Return the decision that an admin takes."""
        if thing.status == DeviceStatus.QUARANTINED:
            return (Button("approve", "Approve", "check", "primary"),)
        question = "Quarantine it? Within 10 seconds its readings are rejected."
        return (Button("quarantine", "Quarantine", "block", "danger", question),)

    def do_approve(self, request: HttpRequest, thing: Device) -> None:
        """Let its readings count."""
        approve_device(**actor_and_tenant(request), device=thing)
        messages.success(
            request, f"{thing.name} counts. Process its rejected callbacks again."
        )

    def do_quarantine(self, request: HttpRequest, thing: Device) -> None:
        """Let its readings count no more."""
        quarantine_device(**actor_and_tenant(request), device=thing)

    def detail(self, request: HttpRequest, thing: Device) -> dict[str, Any]:
        """Return a device with a channel's usage in a month."""
        channels = list(
            Channel.objects.filter(tenant=thing.tenant_id, device=thing).order_by(
                "code", "kind"
            )
        )
        channel = _chosen(channels, request.GET.get("channel", ""))
        facts = [
            ("Name", thing.name),
            ("Status", thing.get_status_display()),
            ("First seen", thing.created_at),
            ("By source", thing.source),
        ]
        shown = _usage(channel, request.GET.get("month", "")) if channel else {}
        return {"facts": facts, "channels": channels, "channel": channel, **shown}


def _chosen(channels: Sequence[Channel], wanted: str) -> Channel | None:
    for channel in channels:
        if str(channel.pk) == wanted:
            return channel
    return channels[0] if channels else None


def _usage(channel: Channel, wanted: str) -> dict[str, Any]:
    """Return a month of usage: the wanted one, or the newest there is."""
    usage = Usage.objects.filter(tenant=channel.tenant_id, channel=channel)
    months = [
        found.strftime("%Y-%m")
        for found in usage.dates("day", "month", order="DESC")[:_MONTHS_OFFERED]
    ]
    if not months:
        return {"months": [], "days": []}
    month = wanted if wanted in months else months[0]
    start = date.fromisoformat(f"{month}-01")
    after = timezone.localdate() + timedelta(days=1)
    end = min((start + timedelta(days=_ENOUGH_DAYS)).replace(day=1), after)
    rows = {row.day: row for row in usage.filter(day__gte=start, day__lt=end)}
    days = [_chart_day(day, rows.get(day)) for day in _days(start, end)]
    return {
        "months": months,
        "month": month,
        "days": [_cells(day, rows) for day in reversed(days)],
        "total": plain(exact_sum(day.value for day in days)),
        "usage_spec": usage_chart(days, channel.unit),
        "coverage_spec": coverage_chart(days),
    }


def _days(start: date, end: date) -> list[date]:
    return [start + timedelta(days=index) for index in range((end - start).days)]


def _chart_day(day: date, row: Usage | None) -> ChartDay:
    if row is None or row.expected_s <= 0:
        return ChartDay(day.isoformat(), Decimal(0), Decimal(0), Decimal(0), Decimal(1))
    actual = min(Decimal(row.actual_s) / row.expected_s, Decimal(1))
    estimated = min(Decimal(row.estimated_s) / row.expected_s, 1 - actual)
    return ChartDay(
        day.isoformat(), row.value, actual, estimated, 1 - actual - estimated
    )


def _cells(day: ChartDay, rows: dict[date, Usage]) -> dict[str, Any]:
    row = rows.get(date.fromisoformat(day.label))
    return {
        "day": day.label,
        "value": plain(day.value) if row else "0",
        "count": row.reading_count if row else 0,
        "shares": [
            f"{100 * part:.0f} %" for part in (day.actual, day.estimated, day.missing)
        ],
    }
