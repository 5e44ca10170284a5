"""
Claiming due deliveries: a lease and a fencing token, by the database's clock.

Fair by endpoint: endpoints take turns in random order, each has a bounded number of
requests on their way per worker, and one that only fails has very few.
Source: docs/explanation/delivery.md
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings

from tenants.database import Cursor, pipeline
from tenants.vault import SealBroken, unseal

#: Requests that one worker has on their way to one endpoint.
ENDPOINT_LIMIT = 32
#: The same for an endpoint whose latest attempt failed: a probe, not a flood.
FAILING_LIMIT = 2


@dataclass(frozen=True)
class Claimed:
    """A delivery that this worker may attempt until the lease ends."""

    tenant_id: int
    delivery_id: UUID
    message_id: UUID
    endpoint_id: UUID
    claim_id: UUID
    attempt: int
    step: int
    url: str
    body: bytes
    #: Active secrets, the newest first; empty: none of them opens.
    secrets: tuple[str, ...]
    #: The database's clock, as seconds to add to `time.monotonic()`.
    clock_offset_s: float

    def now_s(self) -> float:
        """Return the time by the database's clock."""
        return time.monotonic() + self.clock_offset_s


def claim(limit: int, busy: Mapping[UUID, int] | None = None) -> list[Claimed]:
    """
    Claim up to `limit` due deliveries; committed when it returns.

    `busy`: how many requests are on their way to each endpoint already.
    """
    with pipeline() as lane, lane.cursor() as cursor:
        join_by_index(cursor)
        rated = _rated(cursor)
        rows = _claim_rows(cursor, limit=limit, busy=busy or {}, rated=rated)
        _use_rate(cursor, Counter(row[3] for row in rows if row[3] in rated))
        secrets = _secrets(cursor, {row[3] for row in rows})
    offset = _clock_offset(rows)
    return [Claimed(*(*row[:-1], secrets.get(row[3], ()), offset)) for row in rows]


def join_by_index(cursor: Cursor) -> None:
    """
    Have this transaction join a few keys to the large tables by their indexes.

    A table that has grown since it was last analysed would else be read whole.
    """
    cursor.execute(
        """SELECT set_config('enable_hashjoin', 'off', true),
            set_config('enable_mergejoin', 'off', true)"""
    )


def cancel_orphans() -> None:
    """Cancel what was published to an endpoint while it was being deleted."""
    with pipeline() as lane, lane.cursor() as cursor:
        join_by_index(cursor)
        cursor.execute(
            """UPDATE subscriptions_delivery d
            SET status = 'cancelled', claim_id = NULL, finished_at = now()
            FROM subscriptions_endpoint e
            WHERE e.deleted_at > now() - interval '1 h' AND d.status = 'pending'
                AND d.tenant_id = e.tenant_id AND d.endpoint_id = e.id"""
        )


def _clock_offset(rows: Sequence[Any]) -> float:
    return float(rows[0][-1]) - time.monotonic() if rows else 0.0


def _rated(cursor: Cursor) -> dict[UUID, int]:
    """Return what each endpoint with a granted rate may still take now."""
    # A tenth of the granted rate may come at once, nine tenths flow in over the
    # minute: never more than granted in any 60 s. The row stays locked until the
    # claim has used the rate up, so two workers cannot spend it twice.
    cursor.execute(
        """SELECT id, floor(extract(epoch FROM
                least(now() - rate_used_until, burst * pace)) /
                extract(epoch FROM pace) + 1e-6)::int
        FROM subscriptions_endpoint, LATERAL (
            SELECT interval '60 s' / (0.9 * allowed_rate_per_min) AS pace,
                greatest(1, allowed_rate_per_min / 10) AS burst) granted
        WHERE status = 'active' AND deleted_at IS NULL AND allowed_rate_per_min > 0
        FOR UPDATE OF subscriptions_endpoint SKIP LOCKED"""
    )
    return {endpoint_id: max(room, 0) for endpoint_id, room in cursor.fetchall()}


def _use_rate(cursor: Cursor, used: Counter[UUID]) -> None:
    if not used:
        return
    cursor.execute(
        """UPDATE subscriptions_endpoint e
        SET rate_used_until = greatest(e.rate_used_until, now() - burst * pace)
            + used.requests * pace
        FROM unnest(%s::uuid[], %s::int[]) AS used(id, requests), LATERAL (
            SELECT used.id AS of_id, interval '60 s' / (0.9 * allowed_rate_per_min)
                AS pace, greatest(1, allowed_rate_per_min / 10) AS burst
            FROM subscriptions_endpoint WHERE id = used.id) granted
        WHERE e.id = used.id""",
        [list(used.keys()), list(used.values())],
    )


def _claim_rows(
    cursor: Cursor,
    *,
    limit: int,
    busy: Mapping[UUID, int],
    rated: Mapping[UUID, int],
) -> list[Any]:
    # Each endpoint's oldest due deliveries by index delivery_due, as many as it has
    # room for. Rows that another worker is claiming are passed over, not waited for.
    cursor.execute(
        """WITH ready AS MATERIALIZED (
            SELECT e.tenant_id, e.id, least(
                CASE WHEN e.failing_since IS NULL THEN %(cap)s::int
                    ELSE %(failing_cap)s::int END - coalesce(busy.requests, 0),
                CASE WHEN e.allowed_rate_per_min > 0
                    THEN coalesce(rated.room, 0) END) AS room
            FROM subscriptions_endpoint e
            LEFT JOIN unnest(%(busy_ids)s::uuid[], %(busy)s::int[])
                AS busy(id, requests) ON busy.id = e.id
            LEFT JOIN unnest(%(rated_ids)s::uuid[], %(rooms)s::int[])
                AS rated(id, room) ON rated.id = e.id
            WHERE e.status = 'active' AND e.deleted_at IS NULL
            ORDER BY random()
        ), picked AS (
            SELECT due.* FROM ready
            CROSS JOIN LATERAL (
                SELECT d.tenant_id, d.id, d.message_id, d.endpoint_id
                FROM subscriptions_delivery d
                WHERE d.tenant_id = ready.tenant_id AND d.endpoint_id = ready.id
                    AND d.status = 'pending' AND d.next_attempt_at <= now()
                ORDER BY d.next_attempt_at
                LIMIT greatest(ready.room, 0)
                FOR UPDATE SKIP LOCKED) due
            LIMIT %(limit)s::int
        )
        UPDATE subscriptions_delivery d
        SET claim_id = %(claim)s, attempt_count = d.attempt_count + 1,
            schedule_step = d.schedule_step + 1,
            next_attempt_at = now() + %(lease_s)s::float8 * interval '1 s'
        FROM picked
        JOIN subscriptions_message m
            ON m.tenant_id = picked.tenant_id AND m.id = picked.message_id
        JOIN subscriptions_endpoint e ON e.id = picked.endpoint_id
        WHERE d.tenant_id = picked.tenant_id AND d.id = picked.id
        RETURNING d.tenant_id, d.id, d.message_id, d.endpoint_id, d.claim_id,
            d.attempt_count, d.schedule_step, e.url, m.body,
            extract(epoch FROM clock_timestamp())""",
        {
            "cap": ENDPOINT_LIMIT,
            "failing_cap": FAILING_LIMIT,
            "busy_ids": list(busy.keys()),
            "busy": list(busy.values()),
            "rated_ids": list(rated.keys()),
            "rooms": list(rated.values()),
            "limit": limit,
            "claim": uuid4(),
            "lease_s": settings.DELIVERY_LEASE_S,
        },
    )
    return cursor.fetchall()


def _secrets(cursor: Cursor, endpoint_ids: set[UUID]) -> dict[UUID, tuple[str, ...]]:
    found: dict[UUID, tuple[str, ...]] = {}
    if not endpoint_ids:
        return found
    cursor.execute(
        """SELECT tenant_id, endpoint_id, sealed FROM subscriptions_endpointsecret
        WHERE endpoint_id = ANY(%s::uuid[])
            AND (expires_at IS NULL OR expires_at > now())
        ORDER BY id DESC""",
        [list(endpoint_ids)],
    )
    for tenant_id, endpoint_id, sealed in cursor.fetchall():
        found[endpoint_id] = (
            *found.get(endpoint_id, ()),
            *_opened(sealed, secret_context(tenant_id, endpoint_id)),
        )
    return found


def _opened(sealed: bytes, context: str) -> tuple[str, ...]:
    try:
        return (unseal(sealed, context=context).decode(),)
    except SealBroken:
        return ()


def secret_context(tenant_id: int, endpoint_id: UUID) -> str:
    """Return what a sealed secret of the endpoint is bound to."""
    return f"endpoint:{tenant_id}:{endpoint_id}"
