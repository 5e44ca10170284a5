"""Finding the endpoints that have something due and may be sent to now."""

from subscriptions.services.delivering.pacing import Opening
from subscriptions.services.delivering.window_ends import close_over
from subscriptions.services.tokens import LIFE_LEAST_S
from subscriptions.services.walks import WAITING
from tenants.database import Cursor

#: Endpoints that one look returns; those with an alarm first, then any. More than have
#: something due at once: among thousands that hang, no quick one may be left out.
LOOK_LIMIT = 10_000

# What is due is looked up lane by lane, so that each look is one descent however much
# is scheduled for later; in the index's order, so that a plan without statistics takes
# that index too. What is left out: who is held by a breaker, `Retry-After` or a
# maintenance window, or has no token in force.
_LOOK = f"""{WAITING}
SELECT e.tenant_id, e.id, e.max_concurrency, e.batch_size,
    e.failing_since IS NOT NULL,
    e.breaker <> 'closed' OR e.draining_since IS NOT NULL
        OR coalesce(e.allowed_rate_per_min, e.max_rate_per_min) IS NOT NULL,
    e.batch_size = 1 OR due.urgent OR (
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
    due.urgent, due.late
FROM waiting w
CROSS JOIN LATERAL (
    SELECT * FROM subscriptions_endpoint WHERE id = w.endpoint_id OFFSET 0) e
CROSS JOIN LATERAL (
    SELECT bool_or(lanes.lane = 0) AS urgent, bool_or(lanes.lane = 2) AS late
    FROM unnest('{{0,1,2}}'::smallint[]) AS lanes(lane)
    CROSS JOIN LATERAL (
        SELECT FROM subscriptions_delivery d
        WHERE d.tenant_id = e.tenant_id AND d.endpoint_id = e.id
            AND d.status = 'pending' AND d.lane = lanes.lane
            AND d.next_attempt_at <= now()
            AND (d.leased_until IS NULL OR d.leased_until < now())
        ORDER BY d.next_attempt_at LIMIT 1) one
    HAVING count(*) > 0) due
WHERE e.status = 'active' AND e.deleted_at IS NULL
    AND (e.hold_until IS NULL OR e.hold_until <= now())
    AND (e.oauth2_token_url = '' OR e.oauth2_expires_at > now() + %s * interval '1 s')
    AND NOT EXISTS (SELECT FROM subscriptions_maintenancewindow m
        WHERE m.endpoint_id = e.id AND m.closed_at IS NULL AND m.start_at <= now())
ORDER BY due.urgent DESC, random()
LIMIT %s::int
"""  # noqa: S608 (own text)


def look(cursor: Cursor) -> list[Opening]:
    """Return the endpoints that have something due, at most LOOK_LIMIT of them."""
    close_over(cursor)
    cursor.execute(_LOOK, [LIFE_LEAST_S, LOOK_LIMIT])
    return [Opening(*row) for row in cursor.fetchall()]
