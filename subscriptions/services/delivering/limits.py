"""
Rates and breakers at the claim: bounds that hold for all workers together.

Both are in the endpoint's row, which stays locked until the claim has used up what it
takes, so two workers cannot spend it twice. Who finds the row locked passes it over.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple
from uuid import UUID

from django.conf import settings

from subscriptions.services.delivering.arrays import numbers, uuids
from tenants.database import Cursor


class Bound(NamedTuple):
    """What an endpoint may have now."""

    #: Requests that its rate lets through; null: it has none.
    requests: int | None
    #: Whether its breaker lets one probe through, and no more.
    is_probe: bool
    is_draining: bool


# The lowest of the granted rate, the admin's, and the one at which what had waited is
# worked off. A tenth of it may come at once, nine tenths flow in over the minute: never
# more than the rate in any 60 s. No pace is 0, whatever rate a row has.
_BUCKET = """
    LATERAL (SELECT least(nullif(e.allowed_rate_per_min, 0),
        nullif(e.max_rate_per_min, 0), CASE WHEN e.draining_since IS NOT NULL
            THEN greatest(e.drain_rate_per_min, 1) END) AS rate) lowest,
    LATERAL (SELECT CASE WHEN lowest.rate IS NOT NULL THEN greatest(
            interval '60 s' / (0.9 * lowest.rate), interval '1 us') END AS pace,
        greatest(1, lowest.rate / 10) AS burst) bucket
"""


def locked_bounds(cursor: Cursor, endpoint_ids: Collection[UUID]) -> dict[UUID, Bound]:
    """Lock the endpoints' rows; return what those may have that nobody else locked."""
    cursor.execute(
        f"""SELECT e.id, greatest(0, floor(extract(epoch FROM
                least(now() - e.rate_used_until, bucket.burst * bucket.pace)) /
                extract(epoch FROM bucket.pace) + 1e-6))::int,
            e.breaker <> 'closed', e.draining_since IS NOT NULL, lowest.rate IS NULL
        FROM subscriptions_endpoint e, {_BUCKET}
        WHERE e.id = ANY(%s::uuid[]) AND e.status = 'active' AND e.deleted_at IS NULL
            AND (e.hold_until IS NULL OR e.hold_until <= now())
        ORDER BY e.id FOR UPDATE OF e SKIP LOCKED""",  # noqa: S608 (own text)
        [uuids(endpoint_ids)],
    )
    return {
        endpoint_id: Bound(None if is_free else room, is_probe, is_draining)
        for endpoint_id, room, is_probe, is_draining, is_free in cursor.fetchall()
    }


def use_up(
    cursor: Cursor, bounds: Mapping[UUID, Bound], used: Mapping[UUID, int]
) -> None:
    """Note the requests that the claim takes; a probe keeps all others away."""
    taken = {one: used[one] for one in bounds if used.get(one)}
    if not taken:
        return
    # A probe whose worker dies is followed by another once its lease has ended.
    cursor.execute(
        f"""UPDATE subscriptions_endpoint e
        SET rate_used_until = coalesce(greatest(e.rate_used_until,
                now() - used.burst * used.pace) + used.requests * used.pace,
                e.rate_used_until),
            breaker = CASE WHEN e.breaker = 'closed' THEN 'closed'
                ELSE 'half_open' END,
            hold_until = CASE WHEN e.breaker = 'closed' THEN e.hold_until
                ELSE now() + %s::float8 * interval '1 s' END
        FROM (SELECT e.id, taken.requests, bucket.pace, bucket.burst
            FROM unnest(%s::uuid[], %s::int[]) AS taken(id, requests)
            JOIN subscriptions_endpoint e ON e.id = taken.id, {_BUCKET}) used
        WHERE e.id = used.id""",  # noqa: S608 (own text)
        [settings.DELIVERY_LEASE_S, uuids(taken), numbers(taken.values())],
    )


def lift_drains(cursor: Cursor, bounds: Mapping[UUID, Bound]) -> None:
    """End the bound of endpoints whose backlog is worked off."""
    draining = [one for one, bound in bounds.items() if bound.is_draining]
    if not draining:
        return
    cursor.execute(
        """UPDATE subscriptions_endpoint e SET draining_since = NULL
        WHERE e.id = ANY(%s::uuid[]) AND NOT EXISTS (
            SELECT FROM subscriptions_delivery d
            WHERE d.tenant_id = e.tenant_id AND d.endpoint_id = e.id
                AND d.status = 'pending' AND d.lane = ANY('{0,1,2}')
                AND d.next_attempt_at < e.draining_since)""",
        [uuids(draining)],
    )
