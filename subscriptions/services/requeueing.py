"""Making deliveries that have ended due again: under the same id, the same bytes."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from tenants.database import Cursor

# Locked by id, as all who write several deliveries do. They go out in the order of
# their messages, spaced by the rate, behind what is new; places in device lanes they
# gave up when they ended. What has been made due by somebody else meanwhile stays as
# it is.
_REQUEUE = """
WITH ended AS MATERIALIZED (
    SELECT id, message_id FROM subscriptions_delivery
    WHERE tenant_id = %(tenant)s AND id = ANY(%(ids)s::uuid[])
        AND status IN ('delivered', 'dead')
    ORDER BY id FOR UPDATE
), queued AS (
    SELECT id, row_number() OVER (ORDER BY message_id) - 1 AS place FROM ended
)
UPDATE subscriptions_delivery d
SET status = 'pending', schedule_step = 0, lane = 2, is_ordered = false,
    next_attempt_at = coalesce(%(starts_at)s::timestamptz, now())
        + queued.place / %(rate_per_s)s::float8 * interval '1 s',
    claim_id = NULL, leased_until = NULL, finished_at = NULL
FROM queued WHERE d.tenant_id = %(tenant)s AND d.id = queued.id
"""


def requeue(
    cursor: Cursor,
    *,
    tenant_id: int,
    delivery_ids: Sequence[UUID],
    starts_at: datetime | None,
    rate_per_s: float,
) -> int:
    """
    Send those of the deliveries again that were delivered or given up; count them.

    Their schedule begins anew. `starts_at`: when the first is due; None: now.
    """
    if not delivery_ids:
        return 0
    cursor.execute(
        _REQUEUE,
        {
            "tenant": tenant_id,
            "ids": list(delivery_ids),
            "starts_at": starts_at,
            "rate_per_s": rate_per_s,
        },
    )
    return cursor.rowcount
