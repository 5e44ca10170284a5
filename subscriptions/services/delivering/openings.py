"""Finding the endpoints that have something due and may be sent to now."""

from typing import Any
from uuid import UUID

from subscriptions.models import Lane
from subscriptions.services.delivering.pacing import Opening
from subscriptions.services.delivering.window_ends import close_over
from subscriptions.services.tokens import LIFE_LEAST_S
from subscriptions.services.walks import WAITING
from tenants.database import Cursor

#: Lanes of endpoints that one look finds; those of alarms first, then any. More than
#: have something due at once: among thousands that hang, no quick one may be left out.
LOOK_LIMIT = 10_000

# A lane in which nothing is due costs the step of the walk that finds it, and nothing
# more: the endpoint of one that has something is read, then whether all of that is on
# its way already; in the index's order, so that a plan without statistics takes that
# index too. What is left out: who is held by a breaker, `Retry-After` or a maintenance
# window, or has no token in force.
_LOOK = f"""{WAITING}
SELECT e.tenant_id, e.id, e.max_concurrency, e.batch_size,
    e.failing_since IS NOT NULL,
    e.breaker <> 'closed' OR e.draining_since IS NOT NULL
        OR coalesce(e.allowed_rate_per_min, e.max_rate_per_min) IS NOT NULL,
    e.batch_size = 1 OR w.lane = 0 OR (
        SELECT count(*) >= e.batch_size
            OR min(next_attempt_at) <= now() - e.batch_wait_s * interval '1 s'
        FROM (
            SELECT one.* FROM unnest('{{0,1,2}}'::smallint[]) AS lanes(lane)
            CROSS JOIN LATERAL (
                SELECT d.next_attempt_at FROM subscriptions_delivery d
                WHERE d.tenant_id = e.tenant_id AND d.endpoint_id = e.id
                    AND d.status = 'pending' AND d.lane = lanes.lane
                    AND d.next_attempt_at <= now()
                    AND (d.leased_until IS NULL OR d.leased_until < now())
                ORDER BY d.next_attempt_at LIMIT e.batch_size) one
            LIMIT e.batch_size) batch),
    w.lane
FROM waiting w
CROSS JOIN LATERAL (
    SELECT * FROM subscriptions_endpoint WHERE id = w.endpoint_id OFFSET 0) e
CROSS JOIN LATERAL (
    SELECT FROM subscriptions_delivery d
    WHERE d.tenant_id = e.tenant_id AND d.endpoint_id = e.id
        AND d.status = 'pending' AND d.lane = w.lane
        AND d.next_attempt_at <= now()
        AND (d.leased_until IS NULL OR d.leased_until < now())
    ORDER BY d.next_attempt_at LIMIT 1) due
WHERE w.next_attempt_at <= now() AND e.status = 'active' AND e.deleted_at IS NULL
    AND (e.hold_until IS NULL OR e.hold_until <= now())
    AND (e.oauth2_token_url = '' OR e.oauth2_expires_at > now() + %s * interval '1 s')
    AND NOT EXISTS (SELECT FROM subscriptions_maintenancewindow m
        WHERE m.endpoint_id = e.id AND m.closed_at IS NULL AND m.start_at <= now())
ORDER BY w.lane = 0 DESC, random()
LIMIT %s::int
"""  # noqa: S608 (own text)


def look(cursor: Cursor) -> list[Opening]:
    """Return the endpoints that have something due, in LOOK_LIMIT lanes at most."""
    close_over(cursor)
    cursor.execute(_LOOK, [LIFE_LEAST_S, LOOK_LIMIT])
    endpoints: dict[UUID, list[Any]] = {}
    lanes: dict[UUID, set[int]] = {}
    for *known, lane in cursor.fetchall():
        # With an alarm a batch is ripe: its row comes first.
        endpoints.setdefault(known[1], known)
        lanes.setdefault(known[1], set()).add(lane)
    for one, known in endpoints.items():
        known += [Lane.URGENT in lanes[one], Lane.LATE in lanes[one]]
    return [Opening(*known) for known in endpoints.values()]
