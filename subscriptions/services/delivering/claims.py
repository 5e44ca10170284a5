"""
Claiming due deliveries: a lease and a fencing token, by the database's clock.

A claim changes no indexed column, so it costs one new row version and no index entry.
Whatever ends a delivery or sends it back to the queue clears lease and token.
Source: docs/explanation/delivery.md
"""

import logging
import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from django.conf import settings

from subscriptions.batches import portions
from subscriptions.models import Lane
from subscriptions.services.delivering.arrays import numbers, uuids
from subscriptions.services.delivering.limits import (
    Bound,
    lift_drains,
    locked_bounds,
    use_up,
)
from subscriptions.services.delivering.lost import Lost, log_lost
from subscriptions.services.delivering.openings import look
from subscriptions.services.delivering.pacing import Opening, Pacing, Room
from subscriptions.services.destinations import Destination, load
from tenants.database import Cursor, join_by_index, pipeline
from tenants.identifiers import public_id

log = logging.getLogger(__name__)

#: Deliveries in batches that one claim takes: their bodies are all in memory.
BATCHED_ROWS = 1_000
#: How long a worker goes by what it saw, while its claims come back full.
LOOK_S = 0.1
#: Attempts of a message lost with their workers that spend no step of its schedule.
LOST_SPARED = 10
_LOST_AT = 10
_LATE = Lane.LATE.value
_PROMPT_LANES = "{0,1}"
_LATE_LANES = "{2}"
_ALL_LANES = "{0,1,2}"
#: Of the room of one claim, what late retries have while others wait.
_LATE_SHARE = 4

Turn = tuple[Opening, int]


class Claimed(NamedTuple):
    """A delivery that this worker may attempt until the lease ends."""

    tenant_id: int
    delivery_id: UUID
    message_id: UUID
    endpoint_id: UUID
    claim_id: UUID
    attempt: int
    step: int
    lane: int
    is_ordered: bool
    #: Whether its endpoint's breaker is open, and this is to find out how it is.
    is_probe: bool
    body: bytes
    destination: Destination
    #: The database's clock, as seconds to add to `time.monotonic()`.
    clock_offset_s: float

    @property
    def is_late(self) -> bool:
        """Whether it queues with the late retries."""
        return self.lane == _LATE

    def now_s(self) -> float:
        """Return the time by the database's clock."""
        return time.monotonic() + self.clock_offset_s


class Claimer:
    """Claims for one worker, by its pacing and by what it saw a moment ago."""

    def __init__(self, pacing: Pacing) -> None:
        self._pacing = pacing
        self._openings: list[Opening] = []
        self._look_at = -math.inf

    @property
    def is_awaiting(self) -> bool:
        """Whether a batch was seen that waits to be filled."""
        return any(not opening.is_ripe for opening in self._openings)

    def claim(
        self, limit: int | None = None, *, is_careful: bool = False
    ) -> list[Claimed]:
        """
        Claim due deliveries; committed when it returns.

        `limit`: requests at most; none: as many as the worker has room for.
        `is_careful`: only for endpoints that have shown to be quick.
        """
        now = time.monotonic()
        room = self._pacing.room(now)
        if limit is not None:
            room = room._replace(of_all=min(limit, room.of_all))
        if is_careful:
            room = room._replace(is_for_quick=True)
        with pipeline() as lane, lane.cursor(binary=True) as cursor:
            join_by_index(cursor)
            if now >= self._look_at:
                self._openings, self._look_at = look(cursor), now + LOOK_S
            turns = self._pacing.shares(self._openings, room, now)
            claims = _claim(cursor, turns, room) if turns and room.of_all else []
        if not turns or len(claims) < min(room.of_all, sum(most for _, most in turns)):
            # Somebody had less than was thought: it is time for another look.
            self._look_at = -math.inf
        return claims


def claim(limit: int) -> list[Claimed]:
    """Claim due deliveries as a worker would that knows nothing yet."""
    return Claimer(Pacing()).claim(limit)


def give_back(claims: Sequence[Claimed]) -> None:
    """Undo claims of which nothing was sent: no attempt is spent."""
    with pipeline() as lane, lane.cursor() as cursor:
        join_by_index(cursor)
        _undo(cursor, claims)


def _undo(cursor: Cursor, claims: Sequence[Claimed]) -> None:
    cursor.execute(
        """UPDATE subscriptions_delivery d
        SET claim_id = NULL, leased_until = NULL,
            attempt_count = d.attempt_count - 1, schedule_step = d.schedule_step - 1
        FROM unnest(%s::bigint[], %s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[])
            AS c(tenant_id, id, endpoint_id, message_id, claim_id)
        WHERE d.tenant_id = c.tenant_id AND d.id = c.id AND d.claim_id = c.claim_id
            AND d.endpoint_id = c.endpoint_id AND d.message_id = c.message_id""",
        keys_of(claims),
    )


def together(claims: Iterable[Claimed]) -> dict[UUID, list[list[Claimed]]]:
    """Return the deliveries of each request that carries several, by endpoint."""
    batched: dict[UUID, list[Claimed]] = {}
    for claimed in claims:
        if claimed.destination.batch_size > 1:
            batched.setdefault(claimed.endpoint_id, []).append(claimed)
    return {endpoint_id: _batches(mine) for endpoint_id, mine in batched.items()}


def _batches(claims: Sequence[Claimed]) -> list[list[Claimed]]:
    mine = sorted(claims, key=lambda one: one.delivery_id)
    bodies = [one.body for one in mine]
    return [mine[some] for some in portions(bodies, mine[0].destination.batch_size)]


def keys_of(claims: Sequence[Claimed]) -> list[str]:
    """
    Return tenants, ids, endpoints, messages and tokens, each as an array.

    Both unique keys of a delivery in full: by either of them one row is read, whatever
    the planner took the table for.
    """
    return [
        numbers(claim.tenant_id for claim in claims),
        uuids(claim.delivery_id for claim in claims),
        uuids(claim.endpoint_id for claim in claims),
        uuids(claim.message_id for claim in claims),
        uuids(claim.claim_id for claim in claims),
    ]


def _claim(cursor: Cursor, turns: Sequence[Turn], room: Room) -> list[Claimed]:
    bounds = _bounds(cursor, turns)
    turns = [(one, most) for one, most in _bounded(turns, bounds) if most > 0]
    rows = _take_singles(cursor, [one for one in turns if one[0].batch_size == 1], room)
    batched = [one for one in turns if one[0].batch_size > 1]
    if batched:
        rows += _take_batches(cursor, batched)
    log_lost(
        cursor,
        [
            Lost(row[0], row[1], row[5] - 1, row[_LOST_AT])
            for row in rows
            if row[_LOST_AT] is not None
        ],
    )
    claims, left = _fitting(_claims(cursor, rows, bounds) if rows else [], turns)
    if left:
        _undo(cursor, left)
    if bounds:
        use_up(cursor, bounds, _requests(claims))
        lift_drains(cursor, bounds)
    return claims


def _bounds(cursor: Cursor, turns: Sequence[Turn]) -> dict[UUID, Bound]:
    limited = [opening.endpoint_id for opening, _ in turns if opening.is_limited]
    return locked_bounds(cursor, limited) if limited else {}


def _bounded(
    turns: Sequence[Turn], bounds: dict[UUID, Bound]
) -> Iterable[tuple[Opening, int]]:
    for opening, most in turns:
        bound = bounds.get(opening.endpoint_id)
        if bound is None:
            yield opening, 0 if opening.is_limited else most
        else:
            allowed = most if bound.requests is None else min(most, bound.requests)
            yield opening, min(allowed, 1) if bound.is_probe else allowed


def _take_singles(cursor: Cursor, turns: Sequence[Turn], room: Room) -> list[Any]:
    if not turns:
        return []
    rows = _take(cursor, turns, _PROMPT_LANES, room.of_all)
    taken = Counter(row[3] for row in rows)
    late = [
        (opening, most - taken[opening.endpoint_id])
        for opening, most in turns
        if opening.has_late and most > taken[opening.endpoint_id]
    ]
    # While others wait, late retries have a share; else all that is left.
    is_full = len(rows) >= room.of_all
    share = min(room.late, -(-room.of_all // _LATE_SHARE))
    most = share if is_full else room.of_all - len(rows)
    return rows + _take(cursor, late, _LATE_LANES, most) if late and most else rows


def _take_batches(cursor: Cursor, turns: Sequence[Turn]) -> list[Any]:
    # Full batches; what is less than one goes too once its oldest has waited, or with
    # an alarm.
    cursor.execute(
        """SELECT e.id, CASE WHEN bool_or(due.lane = 0 OR due.next_attempt_at
                    <= now() - e.batch_wait_s * interval '1 s') THEN count(*)
                ELSE count(*) / e.batch_size * e.batch_size END
        FROM unnest(%s::uuid[], %s::int[]) AS turn(id, room)
        JOIN subscriptions_endpoint e ON e.id = turn.id
        CROSS JOIN LATERAL (
            SELECT one.* FROM unnest('{0,1,2}'::smallint[]) AS lanes(lane)
            CROSS JOIN LATERAL (
                SELECT d.lane, d.next_attempt_at FROM subscriptions_delivery d
                WHERE d.tenant_id = e.tenant_id AND d.endpoint_id = e.id
                    AND d.status = 'pending' AND d.lane = lanes.lane
                    AND d.next_attempt_at <= now()
                    AND (d.leased_until IS NULL OR d.leased_until < now())
                ORDER BY d.next_attempt_at
                LIMIT turn.room * e.batch_size) one
            LIMIT turn.room * e.batch_size) due
        GROUP BY e.id""",
        [
            uuids(opening.endpoint_id for opening, _ in turns),
            numbers(room for _, room in turns),
        ],
    )
    ready = dict(cursor.fetchall())
    sized = [
        (one, ready[one.endpoint_id]) for one, _ in turns if one.endpoint_id in ready
    ]
    return _take(cursor, sized, _ALL_LANES, BATCHED_ROWS)


# Each endpoint's due deliveries by index delivery_due, lane by lane in their order, so
# that no queue is sorted however long it is; in the order of the turns. Rows that
# another worker is claiming are passed over, not waited for. Who was stopped or held
# since the look has no turn. What is locked is found again by its place: by its key, a
# plan from when the table was small would read all of the tenant. An attempt that was
# lost with its worker spends no step of the schedule, a few times.
_TAKE = """
WITH picked AS (
    SELECT due.* FROM (
        SELECT turn.* FROM unnest(%s::bigint[], %s::uuid[], %s::int[])
            WITH ORDINALITY AS turn(tenant_id, endpoint_id, room, nth)
        CROSS JOIN LATERAL (
            SELECT * FROM subscriptions_endpoint WHERE id = turn.endpoint_id OFFSET 0) e
        WHERE e.status = 'active' AND e.deleted_at IS NULL
            AND (e.hold_until IS NULL OR e.hold_until <= now())
        ORDER BY turn.nth OFFSET 0) turn
    CROSS JOIN LATERAL (
        SELECT one.* FROM unnest(%s::smallint[]) AS lanes(lane)
        CROSS JOIN LATERAL (
            SELECT d.ctid AS place, d.leased_until AS lost_at
            FROM subscriptions_delivery d
            WHERE d.tenant_id = turn.tenant_id
                AND d.endpoint_id = turn.endpoint_id
                AND d.status = 'pending' AND d.lane = lanes.lane
                AND d.next_attempt_at <= now()
                AND (d.leased_until IS NULL OR d.leased_until < now())
            ORDER BY d.next_attempt_at
            LIMIT turn.room
            FOR UPDATE SKIP LOCKED) one
        LIMIT turn.room) due
    LIMIT %s::int
)
UPDATE subscriptions_delivery d
SET claim_id = %s, leased_until = now() + %s::float8 * interval '1 s',
    attempt_count = d.attempt_count + 1,
    schedule_step = d.schedule_step + CASE WHEN lost_at IS NULL THEN 1
        WHEN (SELECT count(*) FROM subscriptions_attempt a
            WHERE a.tenant_id = d.tenant_id AND a.delivery_id = d.id
                AND a.error = 'worker_lost') >= %s THEN 1 ELSE 0 END
FROM picked
WHERE d.ctid = picked.place
RETURNING d.tenant_id, d.id, d.message_id, d.endpoint_id, d.claim_id,
    d.attempt_count, d.schedule_step, d.lane, d.is_ordered, d.body, lost_at,
    extract(epoch FROM clock_timestamp())::float8
"""


def _take(cursor: Cursor, turns: Sequence[Turn], lanes: str, limit: int) -> list[Any]:
    cursor.execute(
        _TAKE,
        [
            numbers(opening.tenant_id for opening, _ in turns),
            uuids(opening.endpoint_id for opening, _ in turns),
            numbers(room for _, room in turns),
            lanes,
            limit,
            uuid4(),
            settings.DELIVERY_LEASE_S,
            LOST_SPARED,
        ],
    )
    return cursor.fetchall()


def _fitting(
    claims: Sequence[Claimed], turns: Sequence[Turn]
) -> tuple[list[Claimed], list[Claimed]]:
    """Return what goes in as many requests as the turns allow, and what is left."""
    rooms = {opening.endpoint_id: most for opening, most in turns}
    fitting = [one for one in claims if one.destination.batch_size == 1]
    left: list[Claimed] = []
    for endpoint_id, batches in together(claims).items():
        # Large messages make more batches than their number alone does.
        for nth, batch in enumerate(batches):
            (fitting if nth < rooms[endpoint_id] else left).extend(batch)
    return fitting, left


def _requests(claims: Sequence[Claimed]) -> dict[UUID, int]:
    """Return the requests that each endpoint's deliveries make."""
    alone = (one.endpoint_id for one in claims if one.destination.batch_size == 1)
    batches = {key: len(found) for key, found in together(claims).items()}
    return Counter(alone) + Counter(batches)


def _claims(
    cursor: Cursor, rows: Sequence[Any], bounds: dict[UUID, Bound]
) -> list[Claimed]:
    destinations = load(cursor, {row[3] for row in rows})
    bodies = _bodies(cursor, {row[:3:2] for row in rows if row[9] is None})
    probed = {one for one, bound in bounds.items() if bound.is_probe}
    offset = rows[0][-1] - time.monotonic()
    claims = []
    for row in rows:
        body = row[9] if row[9] is not None else bodies.get(row[2])
        if body is None:
            log.error("%s has no message.", public_id("dlv", row[1]))
            continue
        is_probe = row[3] in probed
        claims.append(
            Claimed._make((*row[:9], is_probe, body, destinations[row[3]], offset))
        )
    return claims


def _bodies(cursor: Cursor, keys: set[tuple[int, UUID]]) -> dict[UUID, bytes]:
    """Return each message's body, once, however many endpoints it goes to."""
    if not keys:
        return {}
    cursor.execute(
        """SELECT m.id, m.body FROM unnest(%s::bigint[], %s::uuid[]) AS k(tenant_id, id)
        JOIN subscriptions_message m ON m.tenant_id = k.tenant_id AND m.id = k.id""",
        [numbers(tenant_id for tenant_id, _ in keys), uuids(one for _, one in keys)],
    )
    return dict(cursor.fetchall())
