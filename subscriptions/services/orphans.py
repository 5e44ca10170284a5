"""
Cancelling what waits for an endpoint that was deleted, in bounded steps.

Rows that a worker is busy with are passed over, not waited for: a later turn finds
them, and nobody waits in a circle.
"""

from time import monotonic
from uuid import UUID

from subscriptions.services.ordering import PLACES_OF
from subscriptions.services.walks import WAITING
from tenants.database import Cursor, join_by_index, pipeline, walk_by_index

#: Deliveries that one step cancels at most.
STEP = 10_000
#: Seconds after which a turn makes room for others.
TURN_S = 2.0

_REASON = "The endpoint was deleted."

# By index delivery_due; places in device lanes by index laneplace_of_delivery. All of
# the endpoint's deliveries end, so nobody in its lanes becomes due by that.
_CANCEL = f"""
WITH waiting AS (
    SELECT tenant_id, id FROM subscriptions_delivery
    WHERE tenant_id = %s AND endpoint_id = %s AND status = 'pending'
    LIMIT %s FOR UPDATE SKIP LOCKED
), ended AS (
    UPDATE subscriptions_delivery d
    SET status = 'cancelled', claim_id = NULL, leased_until = NULL,
        finished_at = now(), cancel_reason = %s
    FROM waiting w WHERE d.tenant_id = w.tenant_id AND d.id = w.id
    RETURNING d.tenant_id, d.id, d.is_ordered
), freed AS (
    DELETE FROM subscriptions_laneplace WHERE ctid = ANY (ARRAY(
        SELECT p.place FROM (SELECT * FROM ended WHERE is_ordered) AS k
        {PLACES_OF}))
)
SELECT count(*) FROM ended
"""  # noqa: S608 (own text)

_ORPHANED = f"""{WAITING}
SELECT DISTINCT w.tenant_id, w.endpoint_id FROM waiting w
JOIN subscriptions_endpoint e ON e.id = w.endpoint_id
WHERE e.deleted_at IS NOT NULL
"""  # noqa: S608 (own text)


def cancel_waiting(cursor: Cursor, tenant_id: int, endpoint_id: UUID) -> int:
    """Cancel the first STEP deliveries that wait for the endpoint; return how many."""
    walk_by_index(cursor)
    cursor.execute(_CANCEL, [tenant_id, endpoint_id, STEP, _REASON])
    return int(cursor.fetchone()[0])


def cancel_orphans() -> bool:
    """
    Cancel what waits for deleted endpoints, step by step.

    That is the rest of a very long queue, what was passed over, and what was published
    to an endpoint while it was being deleted.
    Returns whether the turn ended before the work did.
    """
    end_s = monotonic() + TURN_S
    while _cancel_some(end_s):
        if monotonic() > end_s:
            return True
    return False


def _cancel_some(end_s: float) -> int:
    """Take a step for each deleted endpoint, until then; return what they cancelled."""
    cancelled = 0
    for tenant_id, endpoint_id in _orphaned():
        with pipeline() as lane, lane.cursor() as cursor:
            join_by_index(cursor)
            cancelled += cancel_waiting(cursor, tenant_id, endpoint_id)
        if monotonic() > end_s:
            break
    return cancelled


def _orphaned() -> list[tuple[int, UUID]]:
    with pipeline() as lane, lane.cursor() as cursor:
        join_by_index(cursor)
        cursor.execute(_ORPHANED)
        return [(row[0], row[1]) for row in cursor.fetchall()]
