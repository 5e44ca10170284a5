"""Reads: sources' addresses, receipts, channels and usage."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import connection
from django.db.models import Max, Min

from ingest.buckets import day_start, hours, local_days, month_of, next_month
from ingest.models import Callback, Channel, ReadingKind, Source, Usage
from ingest.receipts import Counts, LedgerRow, receipt_document
from ingest.shares import STATE_UNITS, USED
from ingest.units import exact_sum
from tenants.models import Tenant
from tenants.problems import NotFound, Problem

#: Hours or days that one question may ask for.
MOST_BUCKETS = 10_000

_HOURS = f"""
WITH bucket AS MATERIALIZED (
    SELECT %s::bigint AS tenant_id, %s::bigint AS channel_id, k.place, k.from_at,
        k.to_at
    FROM unnest(%s::timestamptz[], %s::timestamptz[])
        WITH ORDINALITY AS k (from_at, to_at, place)
),
{USED}
SELECT from_at, to_at, value, actual_s, estimated_s FROM used ORDER BY from_at
"""  # noqa: S608


class ChannelUnknown(NotFound):
    """The tenant has no such channel."""

    code = "channel_unknown"


class PeriodTooLong(Problem):
    """The period has more hours or days than one answer may hold."""

    code = "period_too_long"
    title = "The period is too long"


@dataclass(frozen=True)
class UsedShare:
    """What a channel used in one local hour, day or month."""

    start_at: datetime
    end_at: datetime
    value: Decimal
    unit: str
    actual_s: int
    estimated_s: int

    @property
    def actual(self) -> float:
        """The share of its time that measured values cover."""
        return self._share(self.actual_s)

    @property
    def estimated(self) -> float:
        """The share of its time that estimated or substituted values cover."""
        return self._share(self.estimated_s)

    @property
    def missing(self) -> float:
        """The share of its time that no value covers."""
        return self._share(self._expected_s - self.actual_s - self.estimated_s)

    @property
    def _expected_s(self) -> float:
        # In UTC: within one zone Python subtracts what the clocks on the wall show.
        return (
            self.end_at.astimezone(UTC) - self.start_at.astimezone(UTC)
        ).total_seconds()

    def _share(self, seconds: float) -> float:
        if not self._expected_s:
            # A day that the zone leaves out, as Samoa did 2011-12-30.
            return 0.0
        return round(max(0.0, min(1.0, seconds / self._expected_s)), 6)


def source_url(source: Source) -> str:
    """Return where the source posts its callbacks."""
    return f"{settings.LISTENER_URL}/v1/callbacks/{source.public_id}"


def receipt(callback: Callback) -> dict[str, Any]:
    """Return what the callback's sender is told of it."""
    return receipt_document(
        LedgerRow(
            id=callback.id,
            source_id=callback.source_id,
            transaction_id=callback.transaction_id,
            state=callback.state,
            counts=Counts(
                callback.stored,
                callback.unchanged,
                callback.corrected,
                callback.rejected,
            ),
            errors=callback.errors or (),
            received_at=callback.received_at,
            processed_at=callback.processed_at,
        )
    )


def find_channel(
    *, tenant: Tenant, device: str, code: str = "main", kind: str | None = None
) -> Channel:
    """
    Return a device's channel; of an interval and a register of one code, the interval.

    Raises: ChannelUnknown.
    """
    channels = Channel.objects.filter(tenant=tenant, device__name=device, code=code)
    if kind is not None:
        channels = channels.filter(kind=kind)
    found = {channel.kind: channel for channel in channels}
    channel = found.get(ReadingKind.INTERVAL) or found.get(ReadingKind.REGISTER)
    if channel is None:
        raise ChannelUnknown(f"There is no channel {code!r} of a device {device!r}.")
    return channel


def device_channels(*, tenant: Tenant, device: str, code: str | None) -> list[int]:
    """
    Return the ids of a device's channels, of one code or of all.

    Raises: ChannelUnknown.
    """
    channels = Channel.objects.filter(tenant=tenant, device__name=device)
    if code is not None:
        channels = channels.filter(code=code)
    ids = list(channels.values_list("pk", flat=True))
    if not ids:
        raise ChannelUnknown(f"There is no such channel of a device {device!r}.")
    return ids


def known_period(
    *, tenant: Tenant, channel: Channel
) -> tuple[datetime, datetime] | None:
    """Return the time from the channel's first day of usage to the end of its last."""
    found = Usage.objects.filter(tenant=tenant, channel=channel).aggregate(
        first=Min("day"), last=Max("day")
    )
    if found["first"] is None:
        return None
    zone = tenant.zone
    return (
        day_start(found["first"], zone),
        day_start(found["last"] + timedelta(days=1), zone),
    )


def daily_usage(
    *, tenant: Tenant, channel: Channel, from_day: date, to_day: date
) -> list[Usage]:
    """
    Return the channel's usage by local day, oldest first.

    Shape: days of `[from_day, to_day)`; days that no reading touches are absent.
    """
    return list(
        Usage.objects.filter(
            tenant=tenant, channel=channel, day__gte=from_day, day__lt=to_day
        ).order_by("day")
    )


def usage(
    *,
    tenant: Tenant,
    channel: Channel,
    from_at: datetime,
    to_at: datetime,
    interval: str,
) -> list[UsedShare]:
    """
    Return the usage in each local `hour`, `day` or `month` that the period touches.

    Shape:  oldest first; those that no reading touches are absent. A month that the
            period cuts is counted, and shown, from or to the day that cuts it.
    Units:  the channel's stored unit; times in the tenant's zone.
    Raises: PeriodTooLong.
    Source: docs/explanation/usage.md
    """
    if to_at <= from_at:
        return []
    if interval == "hour":
        return _by_hour(tenant, channel, from_at, to_at)
    first, after = local_days(from_at, to_at, tenant.zone)
    if (after - first).days > MOST_BUCKETS:
        raise PeriodTooLong(f"At most {MOST_BUCKETS} days at once.")
    days = daily_usage(tenant=tenant, channel=channel, from_day=first, to_day=after)
    zone, unit = tenant.zone, channel.unit
    if interval == "day":
        return [
            _sum([day], day.day, day.day + timedelta(days=1), zone, unit)
            for day in days
        ]
    return [
        _sum(list(ones), max(month, first), min(next_month(month), after), zone, unit)
        for month, ones in groupby(days, key=lambda day: month_of(day.day))
    ]


def _sum(
    days: Sequence[Usage], first: date, after: date, zone: ZoneInfo, unit: str
) -> UsedShare:
    return UsedShare(
        start_at=day_start(first, zone).astimezone(zone),
        end_at=day_start(after, zone).astimezone(zone),
        value=exact_sum(day.value for day in days),
        unit=unit,
        actual_s=sum(day.actual_s for day in days),
        estimated_s=sum(day.estimated_s for day in days),
    )


def _by_hour(
    tenant: Tenant, channel: Channel, from_at: datetime, to_at: datetime
) -> list[UsedShare]:
    if to_at - from_at > timedelta(hours=MOST_BUCKETS):
        raise PeriodTooLong(f"At most {MOST_BUCKETS} hours at once.")
    if channel.unit in STATE_UNITS:
        return []
    zone = tenant.zone
    starts, ends = zip(*hours(from_at, to_at, zone), strict=True)
    with connection.cursor() as cursor:
        cursor.execute(_HOURS, [tenant.pk, channel.pk, list(starts), list(ends)])
        rows = cursor.fetchall()
    return [
        UsedShare(
            row[0].astimezone(zone),
            row[1].astimezone(zone),
            row[2],
            channel.unit,
            *row[3:],
        )
        for row in rows
    ]
