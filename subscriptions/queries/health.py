"""How endpoints stand: what came of their latest attempts, and what waits for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection

from subscriptions.models import Attempt, Endpoint
from subscriptions.queries.outcome_words import outcome_words
from tenants.models import Tenant

#: The latest attempts that an endpoint's page and a list of endpoints judge by.
SAMPLE = 1_000
_LIST_SAMPLE = 200
#: A queue longer than this is "more than".
COUNT_LIMIT = 10_000
#: How far back the picture goes from the latest attempt, the attempts that a bar of it
#: judges by, how many bars there are, and how long one of them may be.
_SHOWN = timedelta(days=1)
SLICE_SAMPLE = 200
_MOST_BARS = 48
_WIDTHS_S = (1, 5, 15, 60, 300, 900, 3_600, 10_800, 43_200, 86_400, 604_800)


@dataclass(frozen=True)
class Health:
    """An endpoint's latest attempts in numbers, and its queue."""

    #: How many attempts the numbers are of: the latest ones.
    attempts: int
    succeeded: int
    #: Of the attempts that were answered.
    p50_ms: int | None
    p95_ms: int | None
    #: When the oldest of these attempts began.
    since: datetime | None
    #: Deliveries that are pending, and that were given up: counted up to a bound.
    waiting: int
    #: When the oldest of those that wait was made; beyond the bound one may be older.
    oldest_waiting: datetime | None
    dead: int
    last_error_words: str
    last_error_at: datetime | None
    last_success_at: datetime | None

    @property
    def success_rate(self) -> float | None:
        """The share of these attempts that succeeded; None: there are none."""
        return self.succeeded / self.attempts if self.attempts else None

    @property
    def may_wait_longer(self) -> bool:
        """Whether more wait than are counted, so that one of them may be older."""
        return self.waiting >= COUNT_LIMIT


@dataclass(frozen=True)
class Slice:
    """The attempts of a stretch of time."""

    start_at: datetime
    #: SLICE_SAMPLE at most, the newest; then there may have been more.
    attempts: int
    succeeded: int
    #: Of those that were answered.
    p50_ms: int | None
    p95_ms: int | None


# The attempts by index attempt_of_endpoint, the queue by delivery_due, the dead by
# delivery_dead; each bounded, so that a page costs the same after a bad month. Of a
# queue beyond the bound any part is counted: the oldest is then looked for among what
# falls due first in each lane too, which it is unless it was tried before.
_HEALTH = """
SELECT e.id, a.attempts, a.succeeded, a.p50_ms, a.p95_ms, a.since, w.waiting,
    least(w.oldest, h.oldest), d.dead, f.error, f.status_code, f.started_at,
    a.last_success_at
FROM unnest(%(endpoints)s::uuid[]) AS e (id)
CROSS JOIN LATERAL (
    SELECT count(*) AS attempts, count(*) FILTER (WHERE error = '') AS succeeded,
        percentile_disc(0.5) WITHIN GROUP (ORDER BY duration_ms)
            FILTER (WHERE status_code IS NOT NULL) AS p50_ms,
        percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms)
            FILTER (WHERE status_code IS NOT NULL) AS p95_ms,
        min(started_at) AS since,
        max(started_at) FILTER (WHERE error = '') AS last_success_at
    FROM (SELECT error, status_code, duration_ms, started_at
        FROM subscriptions_attempt
        WHERE tenant_id = %(tenant)s AND endpoint_id = e.id
        ORDER BY started_at DESC LIMIT %(sample)s) AS latest
) AS a
CROSS JOIN LATERAL (
    SELECT count(*) AS waiting, min(created_at) AS oldest
    FROM (SELECT created_at FROM subscriptions_delivery
        WHERE tenant_id = %(tenant)s AND endpoint_id = e.id AND status = 'pending'
        LIMIT %(limit)s) AS some_waiting
) AS w
CROSS JOIN LATERAL (
    SELECT min(first_due.created_at) AS oldest
    FROM generate_series(0, 2) AS l (lane)
    CROSS JOIN LATERAL (
        SELECT created_at FROM subscriptions_delivery d
        WHERE d.tenant_id = %(tenant)s AND d.endpoint_id = e.id AND d.status = 'pending'
            AND d.lane = l.lane::smallint
        ORDER BY next_attempt_at LIMIT 1) AS first_due
) AS h
CROSS JOIN LATERAL (
    SELECT count(*) AS dead
    FROM (SELECT FROM subscriptions_delivery
        WHERE tenant_id = %(tenant)s AND endpoint_id = e.id AND status = 'dead'
        LIMIT %(limit)s) AS some_dead
) AS d
LEFT JOIN LATERAL (
    SELECT error, status_code, started_at
    FROM (SELECT error, status_code, started_at FROM subscriptions_attempt
        WHERE tenant_id = %(tenant)s AND endpoint_id = e.id
        ORDER BY started_at DESC LIMIT %(sample)s) AS latest
    WHERE error <> '' ORDER BY started_at DESC LIMIT 1
) AS f ON true
"""

# Some attempts of each stretch by index attempt_of_endpoint: a busy day's picture costs
# no more than a quiet one's.
_OVER_TIME = """
SELECT stretch.start_at, seen.attempts, seen.succeeded, seen.p50_ms, seen.p95_ms
FROM unnest(%(starts)s::timestamptz[]) AS stretch (start_at)
CROSS JOIN LATERAL (
    SELECT count(*) AS attempts, count(*) FILTER (WHERE error = '') AS succeeded,
        percentile_disc(0.5) WITHIN GROUP (ORDER BY duration_ms)
            FILTER (WHERE status_code IS NOT NULL) AS p50_ms,
        percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms)
            FILTER (WHERE status_code IS NOT NULL) AS p95_ms
    FROM (SELECT error, status_code, duration_ms FROM subscriptions_attempt
        WHERE tenant_id = %(tenant)s AND endpoint_id = %(endpoint)s
            AND started_at >= stretch.start_at
            AND started_at < stretch.start_at + %(width_s)s * interval '1 s'
        ORDER BY started_at DESC LIMIT %(sample)s) AS newest
) AS seen
ORDER BY stretch.start_at
"""


def health(tenant: Tenant, endpoint: Endpoint) -> Health:
    """Return how the endpoint stands, by its latest thousand attempts."""
    return _healths(tenant, [endpoint.pk], SAMPLE)[endpoint.pk]


def healths(tenant: Tenant, endpoint_ids: Sequence[UUID]) -> dict[UUID, Health]:
    """Return how each of a page of endpoints stands, by fewer attempts each."""
    return _healths(tenant, endpoint_ids, _LIST_SAMPLE)


def _healths(
    tenant: Tenant, endpoint_ids: Sequence[UUID], sample: int
) -> dict[UUID, Health]:
    values: dict[str, Any] = {
        "tenant": tenant.pk,
        "endpoints": list(endpoint_ids),
        "sample": sample,
        "limit": COUNT_LIMIT,
    }
    with connection.cursor() as cursor:
        cursor.execute(_HEALTH, values)
        return {row[0]: _health(row[1:]) for row in cursor.fetchall()}


def _health(row: Sequence[Any]) -> Health:
    attempts, succeeded, p50_ms, p95_ms, since, waiting, oldest, dead = row[:8]
    error, status_code, failed_at, succeeded_at = row[8:]
    return Health(
        attempts=attempts,
        succeeded=succeeded,
        p50_ms=p50_ms,
        p95_ms=p95_ms,
        since=since,
        waiting=waiting,
        oldest_waiting=oldest,
        dead=dead,
        last_error_words=outcome_words(status_code, error) if error else "",
        last_error_at=failed_at,
        last_success_at=succeeded_at,
    )


def attempts_over_time(
    tenant: Tenant, endpoint: Endpoint, now: datetime
) -> list[Slice]:
    """
    Return how attempts went in each stretch of time, oldest first; without gaps.

    From the day before the latest attempt on. The stretches are as short as their
    number allows, and begin at round times.
    """
    first = _first_shown(tenant, endpoint)
    if first is None:
        return []
    width_s = _width_s((now - first).total_seconds())
    begin, end = int(first.timestamp()) // width_s, int(now.timestamp()) // width_s
    values: dict[str, Any] = {
        "tenant": tenant.pk,
        "endpoint": endpoint.pk,
        "starts": [
            datetime.fromtimestamp(number * width_s, tz=UTC)
            for number in range(max(begin, end - _MOST_BARS), end + 1)
        ],
        "width_s": width_s,
        "sample": SLICE_SAMPLE,
    }
    with connection.cursor() as cursor:
        cursor.execute(_OVER_TIME, values)
        return [Slice(*row) for row in cursor.fetchall()]


def _first_shown(tenant: Tenant, endpoint: Endpoint) -> datetime | None:
    """Return when the oldest attempt began of the day that ended with the latest."""
    mine = Attempt.objects.filter(tenant=tenant, endpoint=endpoint)
    moments = mine.order_by("-started_at").values_list("started_at", flat=True)
    latest = moments.first()
    if latest is None:
        return None
    return moments.filter(started_at__gt=latest - _SHOWN).last()


def _width_s(span_s: float) -> int:
    wanted = timedelta(seconds=span_s) / _MOST_BARS
    fitting = (width for width in _WIDTHS_S if width >= wanted.total_seconds())
    return next(fitting, _WIDTHS_S[-1])
