"""When the next delivery is due that no bell will tell of."""

from subscriptions.services.walks import WAITING
from tenants.database import pipeline

# In each of these lanes the first that is due later: one descent each.
_NEXT_DUE = f"""{WAITING}, due AS (
    SELECT CASE WHEN e.hold_until > now() THEN e.hold_until ELSE first.at END AS at
    FROM waiting w
    JOIN subscriptions_endpoint e ON e.id = w.endpoint_id AND e.tenant_id = w.tenant_id
    LEFT JOIN LATERAL (
        SELECT d.next_attempt_at AS at FROM subscriptions_delivery d
        WHERE d.tenant_id = e.tenant_id AND d.endpoint_id = e.id
            AND d.status = 'pending' AND d.lane = w.lane
            AND d.next_attempt_at > now()
        ORDER BY d.next_attempt_at LIMIT 1) first ON true
    WHERE e.status = 'active' AND e.deleted_at IS NULL
)
SELECT greatest(extract(epoch FROM min(at) - now()), 0)::float8 FROM due
WHERE at <= now() + %s::float8 * interval '1 s'
"""  # noqa: S608 (own text)


def next_due_s(*, within_s: float) -> float | None:
    """
    Return in how long a retry, or a held endpoint, is due; None: not within that.

    The sweep finds it too, up to its interval late.
    """
    with pipeline() as lane:
        row = lane.execute(_NEXT_DUE, [within_s]).fetchone()
    return row[0] if row else None
