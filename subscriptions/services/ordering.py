"""
Order by device: an ordered endpoint's next message waits for the one before.

Each message about a device takes a place in that device's lane, under the lane's
locked row; a delivery that has ended gives its places up, and those that are first now
become due. Whoever takes places locks lanes in their order; whoever gives them up first
locks the endpoint's turn, then lanes in their order: nobody waits in a circle, and no
two of them look past each other.
Source: docs/explanation/delivery.md
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from subscriptions.rendering import Place
from tenants.database import (
    Cursor,
    columns,
    join_by_index,
    pipeline,
    walk_by_index,
)

#: tenant, endpoint, device.
_Lane = tuple[int, UUID, str]

#: Deliveries that one sweep puts right.
MOST_AT_ONCE = 1_000


class Turn(NamedTuple):
    """A delivery that is to come after all others about the device."""

    tenant_id: int
    endpoint_id: UUID
    device: str
    delivery_id: UUID
    message_id: UUID

    @property
    def lane(self) -> _Lane:
        """Where it queues."""
        return self.tenant_id, self.endpoint_id, self.device


class Places(NamedTuple):
    """The places of a publication's deliveries."""

    by_delivery: dict[UUID, list[Place]]
    #: Those that wait for an earlier one.
    waiting: set[UUID]


# The queue of places fills and empties: where it was analysed while it was empty, all
# indexes seem to cost the same, and any join order too. So each lane and each delivery
# is asked for by itself (OFFSET, LIMIT), in the order of the index that is meant, and
# `walk_by_index` leaves the planner no other way to that order.

#: What deliveries hold, by index laneplace_of_delivery: a range, for what is equal has
#: no order.
PLACES_OF = """
CROSS JOIN LATERAL (
    SELECT p.ctid AS place, p.tenant_id, p.endpoint_id, p.device, p.sequence
    FROM subscriptions_laneplace p
    WHERE p.tenant_id = k.tenant_id AND p.delivery_id BETWEEN k.id AND k.id
    ORDER BY p.delivery_id OFFSET 0) AS p
"""
_PLACES = f"""
FROM unnest(%(tenants)s::bigint[], %(ids)s::uuid[]) AS k (tenant_id, id)
{PLACES_OF}
"""

#: The row's lock is what publishers and recorders of a lane meet at. It remembers the
#: message before, for `excluded` knows only the new one.
_ADVANCE = """
INSERT INTO subscriptions_devicelane AS l
    (tenant_id, endpoint_id, device, sequence, message_id)
SELECT * FROM unnest(%s::bigint[], %s::uuid[], %s::text[], %s::bigint[], %s::uuid[])
    AS k (tenant_id, endpoint_id, device, messages, message_id)
ORDER BY tenant_id, endpoint_id, device COLLATE "C"
ON CONFLICT (tenant_id, endpoint_id, device) DO UPDATE
SET sequence = l.sequence + excluded.sequence, previous_id = l.message_id,
    message_id = excluded.message_id
RETURNING tenant_id, endpoint_id, device, sequence, previous_id
"""

#: A statement of its own: it sees what was committed while `_ADVANCE` waited.
_OCCUPIED = """
SELECT k.tenant_id, k.endpoint_id, k.device
FROM unnest(%s::bigint[], %s::uuid[], %s::text[]) AS k (tenant_id, endpoint_id, device)
WHERE EXISTS (
    SELECT FROM subscriptions_laneplace p
    WHERE p.tenant_id = k.tenant_id AND p.endpoint_id = k.endpoint_id
        AND p.device = k.device COLLATE "C"
    ORDER BY p.sequence OFFSET 0)
"""

_TAKE = """
INSERT INTO subscriptions_laneplace
    (tenant_id, endpoint_id, device, sequence, delivery_id)
SELECT * FROM unnest(%s::bigint[], %s::uuid[], %s::text[], %s::bigint[], %s::uuid[])
"""

#: One at a time gives up places of an endpoint: a delivery with places in two lanes
#: would else be passed over by both who free one of them.
_TAKE_TURN = f"""
SELECT pg_advisory_xact_lock(hashtextextended('ordering:' || endpoint_id, 0))
FROM (SELECT DISTINCT p.endpoint_id {_PLACES} ORDER BY p.endpoint_id) AS theirs
"""  # noqa: S608 (own text)

#: Row by row, in the order of the lanes.
_LOCK_LANES = f"""
SELECT FROM (SELECT DISTINCT p.tenant_id, p.endpoint_id, p.device {_PLACES}
    ORDER BY p.tenant_id, p.endpoint_id, p.device) AS theirs
CROSS JOIN LATERAL (
    SELECT FROM subscriptions_devicelane l
    WHERE l.tenant_id = theirs.tenant_id AND l.endpoint_id = theirs.endpoint_id
        AND l.device = theirs.device
    LIMIT 1 FOR UPDATE) AS held
"""  # noqa: S608 (own text)

#: Such rows are never changed, so their places on the disk stand for them.
_GIVE_UP = f"""
WITH gone AS (
    DELETE FROM subscriptions_laneplace
    WHERE ctid = ANY (ARRAY(SELECT p.place {_PLACES}))
    RETURNING tenant_id, endpoint_id, device
)
SELECT DISTINCT tenant_id, endpoint_id, device FROM gone
"""  # noqa: S608 (own text)

#: The delivery is found by its key: what is appended to its status keeps delivery_due
#: out, which has all that wait.
_IS_FREE = f"""
    d.status || '' = 'pending' AND d.next_attempt_at IS NULL AND NOT EXISTS (
        SELECT FROM (SELECT d.tenant_id, d.id) AS k
        {PLACES_OF}
        CROSS JOIN LATERAL (
            SELECT FROM subscriptions_laneplace earlier
            WHERE earlier.tenant_id = p.tenant_id
                AND earlier.endpoint_id = p.endpoint_id
                AND earlier.device = p.device AND earlier.sequence < p.sequence
            ORDER BY earlier.sequence LIMIT 1) AS first
        OFFSET 0)
"""  # noqa: S608 (own text)

#: Whoever holds a delivery meanwhile is ending it, and gives its places up in turn;
#: waiting for it could be a circle. The sweep finds it if that never comes. What waited
#: before a drain belongs to it, although its turn comes only now.
_RELEASE = f"""
WITH head AS (
    SELECT DISTINCT first.tenant_id, first.delivery_id
    FROM unnest(%s::bigint[], %s::uuid[], %s::text[])
        AS k (tenant_id, endpoint_id, device)
    CROSS JOIN LATERAL (
        SELECT p.tenant_id, p.delivery_id FROM subscriptions_laneplace p
        WHERE p.tenant_id = k.tenant_id AND p.endpoint_id = k.endpoint_id
            AND p.device = k.device COLLATE "C"
        ORDER BY p.sequence LIMIT 1) AS first
), free AS (
    SELECT d.tenant_id, d.id FROM head h
    JOIN subscriptions_delivery d ON d.tenant_id = h.tenant_id AND d.id = h.delivery_id
    WHERE {_IS_FREE}
    ORDER BY d.id FOR UPDATE OF d SKIP LOCKED
)
UPDATE subscriptions_delivery d SET next_attempt_at = least(now(), (
    SELECT e.draining_since - interval '1 us' FROM subscriptions_endpoint e
    WHERE e.id = d.endpoint_id AND d.created_at < e.draining_since))
FROM free WHERE d.tenant_id = free.tenant_id AND d.id = free.id
"""  # noqa: S608 (own text)

#: The first of each lane: those that have ended, and those that nothing holds back.
#: From lane to lane by the key, one descent each: how long the lanes are costs nothing.
_STUCK = f"""
WITH RECURSIVE head AS (
    (SELECT * FROM subscriptions_laneplace
    ORDER BY tenant_id, endpoint_id, device, sequence LIMIT 1)
    UNION ALL
    SELECT next.* FROM head h CROSS JOIN LATERAL (
        SELECT * FROM subscriptions_laneplace p
        WHERE (p.tenant_id, p.endpoint_id, p.device)
            > (h.tenant_id, h.endpoint_id, h.device)
        ORDER BY p.tenant_id, p.endpoint_id, p.device, p.sequence LIMIT 1) next
)
SELECT p.tenant_id, p.delivery_id, p.endpoint_id, p.device,
    d.status IS DISTINCT FROM 'pending'
FROM head p
LEFT JOIN subscriptions_delivery d
    ON d.tenant_id = p.tenant_id AND d.id = p.delivery_id
WHERE d.status IS DISTINCT FROM 'pending' OR ({_IS_FREE})
LIMIT %s
"""  # noqa: S608 (own text)


def take_places(cursor: Cursor, turns: Sequence[Turn]) -> Places:
    """Give each turn the next place of its lane, in the transaction that is open."""
    lanes: dict[_Lane, list[Turn]] = {}
    for turn in turns:
        lanes.setdefault(turn.lane, []).append(turn)
    newest = [(*lane, len(mine), mine[-1].message_id) for lane, mine in lanes.items()]
    walk_by_index(cursor)
    cursor.execute(_ADVANCE, columns(newest))
    advanced = cursor.fetchall()
    cursor.execute(_OCCUPIED, columns(list(lanes)))
    occupied = {tuple(row) for row in cursor.fetchall()}
    places = Places({}, set())
    rows: list[tuple[Any, ...]] = []
    for *key, last, before in advanced:
        lane: _Lane = (key[0], key[1], key[2])
        is_waiting, previous = lane in occupied, before
        first = last - len(lanes[lane]) + 1
        for sequence, turn in enumerate(lanes[lane], start=first):
            place = Place(turn.device, sequence, previous)
            places.by_delivery.setdefault(turn.delivery_id, []).append(place)
            rows.append((*lane, sequence, turn.delivery_id))
            if is_waiting:
                places.waiting.add(turn.delivery_id)
            is_waiting, previous = True, turn.message_id
    cursor.execute(_TAKE, columns(rows))
    for mine in places.by_delivery.values():
        mine.sort()
    return places


def release(cursor: Cursor, ended: Sequence[tuple[int, UUID]]) -> int:
    """
    Give up the places of deliveries that have ended; return how many are due by that.

    Deliveries without places cost a look-up. The caller has written already, in the
    same transaction, that they are not pending.
    """
    if not ended:
        return 0
    theirs = {
        "tenants": [tenant_id for tenant_id, _ in ended],
        "ids": [delivery_id for _, delivery_id in ended],
    }
    walk_by_index(cursor)
    cursor.execute(_TAKE_TURN, theirs)
    if not cursor.fetchall():
        return 0
    cursor.execute(_LOCK_LANES, theirs)
    cursor.execute(_GIVE_UP, theirs)
    return _free(cursor, [tuple(row) for row in cursor.fetchall()])


def release_stuck() -> int:
    """Put right what a crash or a mistake left behind; return the deliveries due."""
    with pipeline() as lane, lane.cursor() as cursor:
        join_by_index(cursor)
        walk_by_index(cursor)
        cursor.execute(_STUCK, [MOST_AT_ONCE])
        found = cursor.fetchall()
        freed = release(cursor, [(row[0], row[1]) for row in found if row[4]])
        return freed + _free(cursor, [(row[0], row[2], row[3]) for row in found])


def _free(cursor: Cursor, lanes: Sequence[tuple[Any, ...]]) -> int:
    if not lanes:
        return 0
    cursor.execute(_RELEASE, columns(lanes))
    return cursor.rowcount
