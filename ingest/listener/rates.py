"""
How many callbacks a source, and a tenant, may post in a second.

The buckets are shared by all listeners (`rate_store`). While that store is away, slow
or not configured, each listener counts for itself: the rate divided by the listeners
it last knew of. Nobody waits twice for a store that stands still, and a source without
a limit never waits for it.
Source: docs/reference/listener.md
"""

import asyncio
import contextlib
import logging
from math import ceil
from time import monotonic
from typing import NamedTuple

from django.conf import settings
from prometheus_client import Gauge

from ingest.listener import metrics
from ingest.listener.rate_store import Limits, RateStore, StoreUnavailable

log = logging.getLogger(__name__)

IS_LOCAL = Gauge(
    "gridhook_listener_rate_limiter_local",
    "1 while the listener counts rates for itself alone.",
    registry=metrics.REGISTRY,
)
#: Seconds that requests wait for the store at most.
PATIENCE_S = 0.05
#: Seconds that nobody's request waits: connecting, while this listener counts alone.
CONNECT_S = 1.0
#: Seconds between two questions to the store: who comes meanwhile is asked together.
GATHER_S = 0.002
#: Seconds between signs of life, and between tries to reach a lost store.
BEAT_S = 2.0
RETRY_S = 1.0
#: Requests in one question.
BATCH_LIMIT = 1000
#: Buckets that a listener keeps itself.
BUCKET_LIMIT = 20_000
#: Seconds' worth that a bucket holds.
_WINDOW_S = 1.0


class Grant(NamedTuple):
    """Whether a request may pass, what is left, and in how many seconds there is."""

    is_granted: bool
    left: tuple[int, ...]
    wait_s: int


class LocalBuckets:
    """What one listener counts; by a clock that never jumps."""

    def __init__(self) -> None:
        #: When each is full again.
        self._full_at: dict[str, float] = {}

    def take(self, limits: Limits, *, listeners: int, now_s: float) -> Grant:
        """Take one of each bucket, or none of any; each has its share of the rate."""
        costs = [listeners / limit.rate for limit in limits]
        frees = [
            self._free_s(limit.key, cost, now_s)
            for limit, cost in zip(limits, costs, strict=True)
        ]
        # A little less will do: seconds are no whole numbers.
        wait_s = max(
            cost * 0.999 - free_s for cost, free_s in zip(costs, frees, strict=True)
        )
        if wait_s > 0:
            return Grant(False, (0,) * len(limits), max(1, ceil(wait_s)))
        self.charge(limits, 1, listeners=listeners, now_s=now_s)
        left = tuple(
            int((free_s - cost) / cost + 0.001)
            for cost, free_s in zip(costs, frees, strict=True)
        )
        return Grant(True, left, 1)

    def charge(
        self, limits: Limits, count: int, *, listeners: int, now_s: float
    ) -> None:
        """Note what passed, so that counting alone does not begin with full buckets."""
        if len(self._full_at) > BUCKET_LIMIT:
            self._tidy(now_s)
        for limit in limits:
            cost = listeners / limit.rate
            full_at = max(self._full_at.get(limit.key, 0.0), now_s) + count * cost
            self._full_at[limit.key] = min(full_at, now_s + _window_s(cost))

    def _free_s(self, key: str, cost: float, now_s: float) -> float:
        full_at = max(self._full_at.get(key, 0.0), now_s)
        return now_s + _window_s(cost) - full_at

    def _tidy(self, now_s: float) -> None:
        self._full_at = {
            key: full_at for key, full_at in self._full_at.items() if full_at > now_s
        }
        if len(self._full_at) > BUCKET_LIMIT:
            self._full_at.clear()


def _window_s(cost: float) -> float:
    """Return the seconds that a bucket holds: it has room for one request at least."""
    return max(_WINDOW_S, cost)


class RateLimiter:
    """Decides for one listener process."""

    def __init__(self) -> None:
        url = settings.RATE_LIMIT_URL
        self._store = RateStore(url) if url else None
        self._buckets = LocalBuckets()
        self._waiting: list[tuple[Limits, asyncio.Future[Grant]]] = []
        self._wake = asyncio.Event()
        #: Whether this listener counts for itself, and whether the log says so.
        self.is_local = True
        self._is_said = False
        #: As the store last said.
        self._listeners = 1
        self._beat_at = self._asked_at = 0.0
        #: A cancellation alone may get lost in the library.
        self._is_closing = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to ask the store; until it answers, this listener counts alone."""
        IS_LOCAL.set(1)
        if self._store is not None:
            self._tasks = [
                asyncio.create_task(self._run(self._store), name="rates"),
                asyncio.create_task(self._tick(), name="rates-beat"),
            ]

    async def close(self) -> None:
        """Stop asking."""
        self._is_closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._store is not None:
            if not self.is_local:
                with contextlib.suppress(StoreUnavailable):
                    await self._store.leave(timeout_s=PATIENCE_S)
            await self._store.close()

    async def take(self, limits: Limits) -> Grant:
        """Return whether one more request may pass."""
        if self.is_local:
            return self._take_locally(limits)
        future: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()
        self._waiting.append((limits, future))
        self._wake.set()
        return await future

    def _take_locally(self, limits: Limits) -> Grant:
        return self._buckets.take(limits, listeners=self._listeners, now_s=monotonic())

    async def _tick(self) -> None:
        while True:
            self._wake.set()
            await asyncio.sleep(RETRY_S)

    async def _run(self, store: RateStore) -> None:
        while not self._is_closing:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._beat(store)
                while self._waiting:
                    await self._decide(store)
            except StoreUnavailable as error:
                self._go_local(str(error))
            except Exception:
                # Without this task every limited request would wait for ever.
                if not self._is_said:
                    log.exception("The rate limiter failed")
                await store.close()
                self._go_local("it failed")

    async def _beat(self, store: RateStore) -> None:
        """Say that this listener lives; so it finds a store that is back, too."""
        now = monotonic()
        if not self.is_local and now < self._beat_at + BEAT_S:
            return
        self._beat_at = now
        timeout_s = CONNECT_S if self.is_local else PATIENCE_S
        self._listeners = await store.beat(timeout_s=timeout_s)
        if self.is_local:
            self.is_local = False
            IS_LOCAL.set(0)
            if self._is_said:
                log.warning("Rate limits are counted by all listeners together again")
            self._is_said = False

    def _go_local(self, reason: str) -> None:
        """Count alone from now on, also for who waits."""
        self.is_local = True
        IS_LOCAL.set(1)
        if not self._is_said:
            log.warning("Rate limits are counted by this listener alone: %s", reason)
        self._is_said = True
        waiting, self._waiting = self._waiting, []
        for limits, future in waiting:
            if not future.done():
                future.set_result(self._take_locally(limits))

    async def _decide(self, store: RateStore) -> None:
        """Ask about all who wait: groups of the same buckets, in one question."""
        await asyncio.sleep(max(0.0, self._asked_at + GATHER_S - monotonic()))
        self._asked_at = monotonic()
        batch = self._waiting[:BATCH_LIMIT]
        groups: dict[Limits, list[asyncio.Future[Grant]]] = {}
        for limits, future in batch:
            groups.setdefault(limits, []).append(future)
        asked = [(limits, len(futures)) for limits, futures in groups.items()]
        decisions = await store.decide(asked, timeout_s=PATIENCE_S)
        # Not before: who waits is told by `_go_local` when there is no decision.
        del self._waiting[: len(batch)]
        now_s = monotonic()
        for (limits, futures), decision in zip(groups.items(), decisions, strict=True):
            granted = decision.granted
            self._buckets.charge(
                limits, granted, listeners=self._listeners, now_s=now_s
            )
            for place, future in enumerate(futures):
                if not future.done():
                    future.set_result(Grant(place < granted, decision.left, 1))
