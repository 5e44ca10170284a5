"""
Telling of days whose usage passed a threshold, and deciding on thresholds.

A day is told of once: the row that says so is unique. What later readings make of the
day changes nothing about that.
Source: docs/how-to/watch-usage.md
"""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import transaction
from psycopg import Connection

from ingest.models import Channel
from ingest.shares import STATE_UNITS
from ingest.units import plain
from subscriptions.filtering import Subject
from subscriptions.services.publishing import Event, publish
from tenants.actors import Actor
from tenants.models import Tenant
from tenants.problems import Problem
from tenants.services import record_audit

#: As many digits as a reading may have, and as many decimals as are kept.
MOST_DIGITS = 38
MOST_DECIMALS = 20

_CROSS = """
WITH crossed AS (
    INSERT INTO ingest_thresholdcrossing
        (tenant_id, channel_id, day, value, threshold)
    SELECT u.tenant_id, u.channel_id, u.day, u.value, c.daily_threshold
    FROM unnest(%s::bigint[], %s::bigint[], %s::date[])
        AS k (tenant_id, channel_id, day)
    JOIN ingest_usage u ON u.tenant_id = k.tenant_id
        AND u.channel_id = k.channel_id AND u.day = k.day
    JOIN ingest_channel c ON c.tenant_id = k.tenant_id AND c.id = k.channel_id
    WHERE u.value > c.daily_threshold
    ON CONFLICT (tenant_id, channel_id, day) DO NOTHING
    RETURNING *
)
SELECT x.tenant_id, t.slug, d.name, c.code, c.kind, c.commodity, x.day, x.value,
    x.threshold, c.unit, x.told_at
FROM crossed x
JOIN ingest_channel c ON c.tenant_id = x.tenant_id AND c.id = x.channel_id
JOIN ingest_device d ON d.tenant_id = c.tenant_id AND d.id = c.device_id
JOIN tenants_tenant t ON t.id = x.tenant_id
ORDER BY x.tenant_id, d.name, c.code, x.day
"""


class DailyThresholdInvalid(Problem):
    """No day of the channel can be measured by it."""

    code = "daily_threshold_invalid"
    title = "The threshold cannot be set"


class _Crossing(NamedTuple):
    """A day that passed its channel's threshold just now."""

    tenant_id: int
    slug: str
    device: str
    channel: str
    kind: str
    commodity: str
    day: date
    value: Decimal
    threshold: Decimal
    unit: str
    told_at: datetime

    def event(self) -> Event:
        """Return what is told."""
        subject = Subject(self.device, self.channel, self.commodity)
        return Event(
            tenant_id=self.tenant_id,
            tenant_slug=self.slug,
            event_type="usage.threshold_exceeded",
            data={
                "device": self.device,
                "channel": self.channel,
                "kind": self.kind,
                "commodity": self.commodity,
                "day": self.day.isoformat(),
                "value": plain(self.value),
                "threshold": plain(self.threshold),
                "unit": self.unit,
            },
            occurred_at=self.told_at,
            subjects=lambda: (subject,),
        )


def tell_crossed(lane: Connection[Any], days: Sequence[Sequence[Any]]) -> int:
    """
    Tell of the days that passed their threshold and were not told of.

    `days`: the tenants, channels and days to look at, each in a list of its own.
    Returns the deliveries.
    """
    rows = lane.execute(_CROSS, [list(column) for column in days]).fetchall()
    with lane.cursor() as cursor:
        return publish(cursor, [_Crossing(*row).event() for row in rows])


@transaction.atomic
def set_daily_threshold(
    *, tenant: Tenant, actor: Actor, channel: Channel, daily_threshold: Decimal | None
) -> Channel:
    """
    Say above which usage of a local day it is news; None: none is.

    In the channel's unit. A day is judged when its usage is computed next.
    Raises: DailyThresholdInvalid.
    """
    current = Channel.objects.select_for_update().get(tenant=tenant, pk=channel.pk)
    before = current.daily_threshold
    if daily_threshold is not None:
        _check(current, daily_threshold)
    if daily_threshold == before:
        return current
    current.daily_threshold = daily_threshold
    current.save(update_fields=["daily_threshold"])
    record_audit(
        actor=actor,
        action="channel.threshold_set",
        subject=channel.device.name,
        detail={
            "channel": channel.code,
            "kind": channel.kind,
            "from": None if before is None else plain(before),
            "to": None if daily_threshold is None else plain(daily_threshold),
        },
    )
    return current


def _check(channel: Channel, threshold: Decimal) -> None:
    if channel.unit in STATE_UNITS:
        raise DailyThresholdInvalid(
            f"daily_threshold: values in {channel.unit} do not add up to a day's usage."
        )
    if not threshold.is_finite() or threshold < 0:
        raise DailyThresholdInvalid("daily_threshold: zero or more, or null.")
    _, digits, exponent = threshold.as_tuple()
    decimals = -exponent if isinstance(exponent, int) else 0
    if max(len(digits), len(digits) - decimals) > MOST_DIGITS:
        raise DailyThresholdInvalid(f"daily_threshold: {MOST_DIGITS} digits at most.")
    if decimals > MOST_DECIMALS:
        raise DailyThresholdInvalid(
            f"daily_threshold: {MOST_DECIMALS} decimals at most."
        )
