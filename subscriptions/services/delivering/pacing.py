"""
How much one worker sends to whom at once: its own memory, and pure arithmetic.

What all workers must obey (holds, breakers, rates) is in the endpoints' rows. What one
worker learns by sending is here: how many requests an endpoint takes at a time, how
quick it is, and how it has answered lately.
Source: docs/explanation/delivery.md
"""

import math
import random
import threading
from collections import OrderedDict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

#: Requests that one worker has on their way.
SLOTS = 256
#: Slow requests do not count in full, so that they cannot keep the quick ones out; this
#: is what there may be of all kinds.
SLOTS_IN_ALL = 2 * SLOTS
#: What comes on top for endpoints that have shown to be quick, at a time and in all: a
#: herd of which nobody knows yet that it hangs must not keep them waiting either.
QUICK_SLOTS = SLOTS // 4
SLOTS_AT_MOST = SLOTS_IN_ALL + 2 * QUICK_SLOTS
#: Room that is worth a claim of its own.
REFILL = 32
#: What endpoints that are slow may hold together, and late retries while others wait.
SLOW_SLOTS = SLOTS // 2
LATE_SLOTS = SLOTS // 4
#: Requests to an endpoint that the worker knows nothing of, and to one that fails.
FIRST_LIMIT = 8
FAILING_LIMIT = 2
#: Failures in a row after which an endpoint counts as one that fails.
FAILING_STREAK = 3
#: An answer that takes longer than this is slow.
SLOW_S = 1.0
#: The breaker opens when results of such weight within so long fail by such a share. A
#: few messages that are refused run through their schedule; one that gets no answer, or
#: is one too many, weighs more: it held a place, or asks for peace. As many seconds of
#: places held in vain are as much: who never answers is tried by few at a time.
EVIDENCE_WEIGHT = 50
COSTLY_WEIGHT = 5
EVIDENCE_S = 60.0
EVIDENCE_SHARE = 0.7
_EVIDENCE_KEPT = 200
#: How long a worker spares an endpoint by itself, until the breaker is written.
_SPARED_S = 1.0
#: The share of the newest latency in the mean.
_LATENCY_WEIGHT = 0.2
#: Endpoints that are remembered.
_REMEMBERED = 10_000
#: The least that an endpoint may claim in its turn.
_LEAST_SHARE = 4
#: Turns are given until they could claim this many times what there is room for.
_TURNS_ENOUGH = 4


@dataclass(frozen=True)
class Opening:
    """An endpoint that has something due and may be sent to."""

    tenant_id: int
    endpoint_id: UUID
    max_concurrency: int
    batch_size: int
    #: Whether its latest attempts failed, as all workers saw it.
    is_failing: bool
    #: Whether a rate or a breaker bounds it, and the claim must lock its row.
    is_limited: bool
    #: Whether its batch is full, or has waited long enough; always, without batches.
    is_ripe: bool
    has_urgent: bool
    has_late: bool


class Room(NamedTuple):
    """How many requests a worker may begin."""

    of_all: int
    slow: int
    late: int
    #: Whether it is for those alone that have shown to be quick.
    is_for_quick: bool


class _Ended(NamedTuple):
    """A request that has ended: when it began, when it ended, and its verdict."""

    started: float
    at: float
    verdict: bool | None

    @property
    def weight(self) -> int:
        """What it weighs as evidence."""
        return COSTLY_WEIGHT if self.verdict is None else 1

    @property
    def held_s(self) -> float:
        """How long it held a place in vain."""
        return self.at - self.started if self.verdict is None else 0.0


@dataclass
class _Pace:
    limit: float = FIRST_LIMIT
    latency_s: float = 0.0
    failures: int = 0
    cut_at: float = -math.inf
    has_answered: bool = False
    #: Whether its latest answer asked for fewer at a time.
    is_throttled: bool = False
    #: Until when it is spared, although its row may not say so yet.
    spared_until: float = -math.inf
    #: What it may have on its way at most, as its admin says.
    most: int = FIRST_LIMIT
    #: Requests that are claimed for it and wait for one of those on their way to end.
    waiting: int = 0
    #: What is on its way and since when, the oldest first.
    flying: dict[Hashable, float] = field(default_factory=dict)
    results: deque[_Ended] = field(default_factory=lambda: deque(maxlen=_EVIDENCE_KEPT))

    def is_slow(self, now: float) -> bool:
        """Whether its answers take long, or the one that is awaited."""
        oldest = next(iter(self.flying.values()), now)
        return self.latency_s > SLOW_S or now - oldest > SLOW_S

    def is_quick(self, now: float) -> bool:
        """Whether it has shown to be quick."""
        is_well = self.has_answered and self.failures == 0
        return is_well and not self.is_slow(now)

    def most_flying(self) -> int:
        """Return how many requests it may have on their way."""
        is_failing = self.failures >= FAILING_STREAK
        return min(int(self.limit), self.most, FAILING_LIMIT if is_failing else SLOTS)

    def is_stuck(self, now: float) -> bool:
        """Whether what waits for it would wait for long, or had better not be sent."""
        is_failing = self.failures >= FAILING_STREAK or now < self.spared_until
        return is_failing or self.is_throttled or self.is_slow(now)

    def room(self, now: float) -> int:
        """Return how many requests may be claimed for it."""
        if now < self.spared_until:
            return 0
        most = self.most_flying()
        # Who is quick has as many again in waiting, so that claims are no bottleneck.
        ahead = most if self.is_quick(now) else 0
        return max(most + ahead - len(self.flying) - self.waiting, 0)

    def learn(self, started: float, now: float, verdict: bool | None) -> None:
        """Learn from a request that has ended."""
        weight = _LATENCY_WEIGHT if self.has_answered else 1.0
        self.latency_s += weight * (now - started - self.latency_s)
        self.has_answered = True
        self.failures = 0 if verdict else self.failures + 1
        self.spared_until = -math.inf if verdict else self.spared_until
        self.is_throttled = verdict is None
        self.results.append(_Ended(started, now, verdict))
        if verdict:
            # Only a limit that is made use of grows: another one proves nothing.
            if 2 * (len(self.flying) + 1) >= self.limit:
                self.limit += 1.0 / self.limit
        elif verdict is None and started > self.cut_at:
            # Once for all that were on their way together.
            self.limit, self.cut_at = max(self.limit / 2, 1.0), now

    def evidence_s(self, now: float) -> float | None:
        """Return how far back the evidence goes, and forget it; None: too little."""
        while self.results and self.results[0].at < now - EVIDENCE_S:
            self.results.popleft()
        weight = sum(one.weight for one in self.results)
        failed = sum(one.weight for one in self.results if not one.verdict)
        held_s = sum(one.held_s for one in self.results)
        is_enough = max(weight, held_s) >= EVIDENCE_WEIGHT
        if not is_enough or failed < EVIDENCE_SHARE * weight:
            return None
        oldest = min(one.started for one in self.results)
        self.results.clear()
        self.spared_until = now + _SPARED_S
        return now - oldest


class _Giving:
    """What one claim has to give, and what is left of it."""

    def __init__(self, room: Room, turns: int) -> None:
        self._left = _TURNS_ENOUGH * room.of_all
        self._slow = room.slow
        self._share = max(_LEAST_SHARE, 2 * -(-room.of_all // max(turns, 1)))
        # While a herd hangs, one request tells whether somebody belongs to it.
        unproven = self._share if room.slow else 1
        self._unproven_share = 0 if room.is_for_quick else unproven

    @property
    def is_enough(self) -> bool:
        """Whether more turns would bring no more requests."""
        return self._left <= 0

    def take(self, pace: _Pace, now: float) -> int:
        """Return how many requests the endpoint may have."""
        share = self._share if pace.is_quick(now) else self._unproven_share
        mine = min(pace.room(now), share)
        if pace.is_slow(now):
            mine = min(mine, self._slow)
            self._slow -= mine
        self._left -= mine
        return mine


class Pacing:
    """
    The memory: told of each request's begin and end, asked what may be sent.

    Safe to use from the thread that sends and the one that claims.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._paces: OrderedDict[UUID, _Pace] = OrderedDict()
        #: Those of them with requests on their way.
        self._airborne: dict[UUID, _Pace] = {}
        self._late: set[Hashable] = set()
        self._flying = 0
        self._waiting = 0

    def may_begin(self, endpoint_id: UUID) -> bool:
        """Tell whether the endpoint takes one more request now."""
        with self._lock:
            pace = self._pace(endpoint_id)
            return len(pace.flying) < pace.most_flying()

    def is_stuck(self, endpoint_id: UUID, now: float) -> bool:
        """Tell whether what waits for the endpoint had better be given back."""
        with self._lock:
            return self._pace(endpoint_id).is_stuck(now)

    def wait(self, endpoint_id: UUID, more: int) -> None:
        """Note that so many more requests wait for the endpoint to take them."""
        with self._lock:
            self._pace(endpoint_id).waiting += more
            self._waiting += more

    def begin(
        self, endpoint_id: UUID, request: Hashable, now: float, *, is_late: bool = False
    ) -> None:
        """Note that a request is on its way."""
        with self._lock:
            pace = self._pace(endpoint_id)
            pace.flying[request] = now
            self._airborne[endpoint_id] = pace
            self._flying += 1
            if is_late:
                self._late.add(request)

    def end(
        self, endpoint_id: UUID, request: Hashable, now: float, *, verdict: bool | None
    ) -> None:
        """
        Note that a request has ended.

        `verdict`: True: it succeeded. False: it failed. None: it failed in a way that
        asks for fewer at a time: a time-out, 429 or 503.
        """
        with self._lock:
            pace = self._pace(endpoint_id)
            started = pace.flying.pop(request)
            if not pace.flying:
                del self._airborne[endpoint_id]
            self._flying -= 1
            self._late.discard(request)
            pace.learn(started, now, verdict)

    def evidence_s(self, endpoint_id: UUID, now: float) -> float | None:
        """
        Return how far back the evidence goes that opens the breaker; None: too little.

        Evidence is used once: what was seen before counts no more.
        """
        with self._lock:
            return self._pace(endpoint_id).evidence_s(now)

    def has_slow(self, now: float) -> bool:
        """Tell whether something is on its way to an endpoint that is slow."""
        with self._lock:
            return any(pace.is_slow(now) for pace in self._airborne.values())

    def room(self, now: float) -> Room:
        """Return how many requests may be begun now."""
        with self._lock:
            slow = sum(
                len(pace.flying)
                for pace in self._airborne.values()
                if pace.is_slow(now)
            )
            room = SLOTS - self._waiting - (self._flying - slow) - min(slow, SLOW_SLOTS)
            room = min(room, SLOTS_IN_ALL - self._flying)
            is_full = room < REFILL
            return Room(
                of_all=max(room, self._quick_room(now) if is_full else 0, 0),
                slow=max(SLOW_SLOTS - slow, 0),
                late=max(LATE_SLOTS - len(self._late), 0),
                is_for_quick=is_full,
            )

    def _quick_room(self, now: float) -> int:
        quick = sum(
            len(pace.flying) + pace.waiting
            for pace in self._airborne.values()
            if pace.is_quick(now)
        )
        at_most = SLOTS_AT_MOST - self._flying - self._waiting
        return min(QUICK_SLOTS - quick, at_most)

    def shares(
        self, openings: Sequence[Opening], room: Room, now: float
    ) -> list[tuple[Opening, int]]:
        """
        Return how many requests each endpoint may have more, in order of their turns.

        Those with an alarm come first; the rest in random order, so that none is always
        last. Slow endpoints share what is left for slow ones.
        """
        turns = [one for one in openings if one.is_ripe]
        random.shuffle(turns)
        turns.sort(key=lambda one: not one.has_urgent)
        giving = _Giving(room, len(turns))
        found = []
        for opening in turns:
            if giving.is_enough:
                break
            with self._lock:
                pace = self._pace(opening.endpoint_id, is_failing=opening.is_failing)
                pace.most = opening.max_concurrency
                mine = giving.take(pace, now)
            if mine > 0:
                found.append((opening, mine))
        return found

    def _pace(self, endpoint_id: UUID, *, is_failing: bool = False) -> _Pace:
        pace = self._paces.get(endpoint_id)
        if pace is None:
            pace = self._paces[endpoint_id] = _Pace()
            pace.failures = FAILING_STREAK if is_failing else 0
            if len(self._paces) > _REMEMBERED:
                self._forget_one()
        return pace

    def _forget_one(self) -> None:
        endpoint_id, pace = self._paces.popitem(last=False)
        if pace.flying or pace.waiting:
            self._paces[endpoint_id] = pace
