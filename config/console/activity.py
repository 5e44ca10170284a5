"""
What happened lately in a tenant, cheaply enough to ask every few seconds.

Ids of ledger and deliveries are UUIDv7, so a minute is a range of the primary key. A
minute's counts are kept for longer the older it is, so that at any rate an asking costs
about one minute's index range. Sizes of queues are counted up to a bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.core.cache import cache
from django.db import connection

from subscriptions.queries.undelivered import count_dead
from tenants.identifiers import created_at, first_id
from tenants.models import Tenant

MINUTES = 60
#: A queue longer than this is "more than".
COUNT_LIMIT = 10_000
#: Seconds that a minute's counts are kept, for each minute of its age.
_KEPT_S_PER_MINUTE = 20

# Each count is one range of a primary key (tenant_id, id).
COUNT_BY_MINUTE = """
SELECT m.low,
    (SELECT count(*) FROM ingest_callback c
     WHERE c.tenant_id = %(tenant)s AND c.id >= m.low AND c.id < m.high),
    (SELECT count(*) FROM ingest_pendingcallback p
     WHERE p.tenant_id = %(tenant)s
        AND p.callback_id >= m.low AND p.callback_id < m.high),
    d.messages, d.delivered
FROM unnest(%(lows)s::uuid[], %(highs)s::uuid[]) AS m (low, high)
CROSS JOIN LATERAL (
    SELECT count(*), count(*) FILTER (WHERE status = 'delivered')
    FROM subscriptions_delivery
    WHERE tenant_id = %(tenant)s AND id >= m.low AND id < m.high
) AS d (messages, delivered)
"""


@dataclass(frozen=True)
class Minute:
    """Callbacks accepted in a minute, how many of them are done; messages likewise."""

    at: datetime
    accepted: int
    processed: int
    messages: int
    delivered: int


@dataclass(frozen=True)
class Activity:
    """A tenant's last hour, and what waits or fails now."""

    minutes: Sequence[Minute]
    waiting: int
    oldest_waiting_at: datetime | None
    due: int
    retrying: int
    dead: int
    last_received_at: datetime | None

    @property
    def failing(self) -> int:
        """Deliveries that have failed at least once and are not done."""
        return self.retrying + self.dead

    def total(self, name: str) -> int:
        """Return the hour's sum of one of the minutes' numbers."""
        return sum(getattr(minute, name) for minute in self.minutes)


def activity(*, tenant: Tenant, now: datetime) -> Activity:
    """Return the tenant's last hour."""
    waiting, oldest = _waiting(tenant)
    due, retrying = _deliveries(tenant)
    return Activity(
        minutes=_minutes(tenant, now),
        waiting=waiting,
        oldest_waiting_at=created_at(oldest) if oldest else None,
        due=due,
        retrying=retrying,
        dead=count_dead(tenant, COUNT_LIMIT),
        last_received_at=_last_received(tenant),
    )


def _minutes(tenant: Tenant, now: datetime) -> list[Minute]:
    newest = now.astimezone(UTC).replace(second=0, microsecond=0)
    starts = [newest - timedelta(minutes=age) for age in reversed(range(MINUTES))]
    keys = {start: f"minute:{tenant.pk}:{start:%Y%m%d%H%M}" for start in starts}
    kept = cache.get_many(keys.values())
    missing = [start for start in starts if keys[start] not in kept]
    for minute in _count(tenant, missing):
        kept[keys[minute.at]] = minute
        age = round((newest - minute.at).total_seconds() / 60)
        if age:
            cache.set(keys[minute.at], minute, age * _KEPT_S_PER_MINUTE)
    return [kept[keys[start]] for start in starts]


def _count(tenant: Tenant, starts: Sequence[datetime]) -> list[Minute]:
    """Count by ranges of the primary keys; `processed` is what no longer waits."""
    lows = [first_id(start) for start in starts]
    highs = [first_id(start + timedelta(minutes=1)) for start in starts]
    values = {"tenant": tenant.pk, "lows": lows, "highs": highs}
    rows = _rows(COUNT_BY_MINUTE, values)
    return [
        Minute(created_at(low), accepted, accepted - waiting, messages, delivered)
        for low, accepted, waiting, messages, delivered in rows
    ]


def _waiting(tenant: Tenant) -> tuple[int, UUID | None]:
    """Count the queue; a callback that is processed again waits again."""
    ((count, oldest),) = _rows(
        """
        SELECT count(*), (array_agg(callback_id ORDER BY callback_id))[1] FROM (
            SELECT callback_id FROM ingest_pendingcallback
            WHERE tenant_id = %(tenant)s ORDER BY callback_id LIMIT %(limit)s
        ) AS oldest_first
        """,
        {"tenant": tenant.pk, "limit": COUNT_LIMIT},
    )
    return count, oldest


def _deliveries(tenant: Tenant) -> tuple[int, int]:
    """Count waiting deliveries, and those of them that failed before."""
    ((pending, retrying),) = _rows(
        """
        SELECT count(*), count(*) FILTER (WHERE last_error <> '')
        FROM (SELECT last_error FROM subscriptions_delivery
            WHERE tenant_id = %(tenant)s AND status = 'pending'
            LIMIT %(limit)s) AS some_pending
        """,
        {"tenant": tenant.pk, "limit": COUNT_LIMIT},
    )
    return pending, retrying


def _last_received(tenant: Tenant) -> datetime | None:
    rows = _rows(
        """
        SELECT id FROM ingest_callback WHERE tenant_id = %(tenant)s
        ORDER BY id DESC LIMIT 1
        """,
        {"tenant": tenant.pk},
    )
    return created_at(rows[0][0]) if rows else None


def _rows(query: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found
