"""
Making callbacks durable, many at a time.

Whatever arrives while one commit is under way is committed by the next one (group
commit), so an idle listener adds no delay and a busy one writes large batches. A
caller's future resolves after the commit returned, never before. A bundle is committed
in a transaction of its own, in turn with the others.
Source: docs/explanation/durability.md
"""

import asyncio
import contextlib
import logging
from collections import deque
from time import perf_counter

import psycopg
from django.conf import settings

from ingest.listener import metrics
from ingest.listener.entries import (
    OVERLOADED,
    UNAVAILABLE,
    Bundle,
    Entry,
    Outcome,
    Verdict,
    by_key,
)
from ingest.listener.lanes import RECONNECT_PAUSES_S, Lane, UnsafeCommit
from ingest.listener.storing import compare, insert, store_bundle
from tenants import doorbell

log = logging.getLogger(__name__)

#: Bodies that are committed together at most, in bytes; the driver copies them twice.
BATCH_BYTES = 4 * 1024 * 1024
#: Seconds that a commit waits for more callbacks, when the last one had several …
GATHER_S = 0.004
#: … and how many need no more.
ENOUGH_GATHERED = 48
#: Seconds between looks for callers that have waited too long.
SWEEP_S = 0.1


class Ledger:
    """A writer of a listener process, over one connection."""

    def __init__(self, name: str = "ledger") -> None:
        self._lane = Lane(name, statement_timeout_s=settings.LISTENER_DEADLINE_S)
        self._queue_length = settings.LISTENER_QUEUE_LENGTH
        self._batch_size = settings.LISTENER_BATCH_SIZE
        self._waiting: deque[Entry] = deque()
        self._batch: list[Entry] = []
        self._bundles: deque[Bundle] = deque()
        self._bundle: Bundle | None = None
        #: Callbacks in bundles, waiting or under way.
        self._bundled = 0
        #: How many waited when the last commit began.
        self._last_size = 0
        self._wake = asyncio.Event()
        #: Whether Postgres cannot be reached now.
        self.is_away = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def depth(self) -> int:
        """How many callbacks wait for their commit."""
        return len(self._waiting) + len(self._batch) + self._bundled

    @property
    def is_full(self) -> bool:
        """Whether one more would be refused."""
        depth = len(self._waiting) + len(self._batch) + self._bundled
        return depth >= self._queue_length

    def age_at(self, now: float) -> float:
        """Return how long the callback has waited that waits longest, in seconds."""
        deadlines = [entry.deadline_at for entry in (*self._batch, *self._waiting)]
        deadlines += [bundle.deadline_at for bundle in self._bundles]
        if not deadlines:
            return 0.0
        return max(settings.LISTENER_DEADLINE_S - (min(deadlines) - now), 0.0)

    def start(self) -> None:
        """Begin to commit."""
        self._tasks = [
            asyncio.create_task(self._run(), name="ledger"),
            asyncio.create_task(self._sweep(), name="ledger-sweep"),
        ]

    async def close(self) -> None:
        """Commit what waits, then close the connection."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.LISTENER_DEADLINE_S):
                while self.depth:
                    await asyncio.sleep(SWEEP_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._lane.close()

    async def record(self, entry: Entry) -> Outcome:
        """Return the callback's outcome, by its deadline at the latest."""
        if self.is_away:
            return UNAVAILABLE
        if self.is_full:
            return OVERLOADED
        self._waiting.append(entry)
        self._wake.set()
        return await entry.future

    async def record_all(self, bundle: Bundle) -> list[Outcome]:
        """
        Return the outcomes of callbacks that are stored all or not at all, in order.

        Where one conflicts, those that would have been stored have no receipt.
        """
        if self.is_away:
            return [UNAVAILABLE] * len(bundle.entries)
        waiting = self.depth
        # One that is longer than the queue still has its turn.
        if waiting and waiting + len(bundle.entries) > self._queue_length:
            return [OVERLOADED] * len(bundle.entries)
        self._bundles.append(bundle)
        self._bundled += len(bundle.entries)
        self._wake.set()
        return await bundle.future

    async def _run(self) -> None:
        while True:
            try:
                await self._connect()
                while self._lane.connection is not None:
                    await self._wake.wait()
                    await self._commit_waiting()
            except Exception:
                # Without a committer every callback would be refused until a restart.
                log.exception("The committer failed; starting it again")
                await asyncio.sleep(1)

    async def _connect(self) -> None:
        """Try until Postgres is there; meanwhile callers are told at once."""
        attempt = 0
        while True:
            await asyncio.sleep(
                RECONNECT_PAUSES_S[min(attempt, len(RECONNECT_PAUSES_S) - 1)]
            )
            try:
                await self._lane.open()
            except (psycopg.OperationalError, UnsafeCommit) as error:
                attempt += 1
                self._go_away(error)
            else:
                self.is_away = False
                return

    def _go_away(self, error: Exception) -> None:
        if not self.is_away:
            log.error("No callback can be stored: %s", str(error).strip())
        self.is_away = True
        while self._waiting:
            self._waiting.popleft().resolve(UNAVAILABLE)
        while self._bundles:
            bundle = self._bundles.popleft()
            self._bundled -= len(bundle.entries)
            bundle.refuse(UNAVAILABLE)

    async def _commit_waiting(self) -> None:
        while self._waiting or self._bundles:
            if self._waiting:
                await self._commit_next()
            if self._bundles and self._lane.connection is not None:
                await self._commit_bundle(self._bundles.popleft())
            if self._lane.connection is None:
                return
        self._wake.clear()

    async def _commit_next(self) -> None:
        await self._gather()
        self._batch = batch = self._take()
        if not batch:
            return
        try:
            await self._commit(batch)
        finally:
            self._batch = []
            self._settle(batch)

    async def _commit_bundle(self, bundle: Bundle) -> None:
        """Commit a bundle whose caller waits still; undecided, try once more."""
        self._bundle = bundle
        try:
            if not bundle.future.done():
                await self._try_bundle(bundle)
        finally:
            self._bundle = None
            is_lost = self._lane.connection is None
            if is_lost and not bundle.is_retry and not bundle.future.done():
                bundle.is_retry = True
                self._bundles.appendleft(bundle)
            else:
                self._bundled -= len(bundle.entries)
                bundle.refuse(UNAVAILABLE)

    async def _try_bundle(self, bundle: Bundle) -> None:
        started = perf_counter()
        try:
            outcomes = await store_bundle(self._lane, bundle)
        except UnsafeCommit as error:
            await self._refuse(error)
            bundle.refuse(UNAVAILABLE)
        except psycopg.OperationalError as error:
            log.warning("A commit did not succeed: %s", str(error).strip())
        except (psycopg.Error, ValueError) as error:
            log.error("Postgres refuses a bundle: %s", type(error).__name__)  # noqa: TRY400 (the traceback holds the body)
        else:
            doorbell.ring("ingest.process")
            bundle.resolve(outcomes)
            metrics.COMMIT_SECONDS.observe(perf_counter() - started)
            metrics.BATCH_SIZE.observe(len(bundle.entries))

    async def _gather(self) -> None:
        """
        Let a few more come, when they come fast: half as many commits cost half.

        Whoever comes alone does not wait.
        """
        if self._last_size > 1 and len(self._waiting) < ENOUGH_GATHERED:
            await asyncio.sleep(GATHER_S)
        self._last_size = len(self._waiting)

    def _settle(self, batch: list[Entry]) -> None:
        """
        Deal with what a commit left undecided.

        After a lost connection it is tried once more on the next one: the receipt
        tells whether the first try was committed after all.
        """
        undecided = [entry for entry in batch if not entry.future.done()]
        if self._lane.connection is None:
            again = [entry for entry in undecided if not entry.is_retry]
            self._waiting.extendleft(reversed(again))
        for entry in undecided:
            if entry.is_retry or self._lane.connection is not None:
                entry.resolve(UNAVAILABLE)
            entry.is_retry = True

    def _take(self) -> list[Entry]:
        """Return the next batch: bounded in callbacks and in bytes."""
        batch: list[Entry] = []
        size = 0
        while self._waiting and len(batch) < self._batch_size:
            size += len(self._waiting[0].body)
            if batch and size > BATCH_BYTES:
                break
            entry = self._waiting.popleft()
            if not entry.future.done():
                batch.append(entry)
        return batch

    async def _commit(self, batch: list[Entry]) -> None:
        """
        Commit a batch; a callback that Postgres will not take does not hold the others.

        What is not resolved afterwards was not decided.
        """
        started = perf_counter()
        try:
            await self._store(batch)
        except UnsafeCommit as error:
            for entry in batch:
                entry.resolve(UNAVAILABLE)
            await self._refuse(error)
            return
        except psycopg.OperationalError as error:
            log.warning("A commit did not succeed: %s", str(error).strip())
            return
        except (psycopg.Error, ValueError) as error:
            if len(batch) == 1:
                log.error("Postgres refuses a callback: %s", type(error).__name__)  # noqa: TRY400 (the traceback holds the body)
                return
            for entry in batch:
                await self._commit([entry])
            return
        metrics.COMMIT_SECONDS.observe(perf_counter() - started)
        metrics.BATCH_SIZE.observe(len(batch))

    async def _refuse(self, error: UnsafeCommit) -> None:
        """Acknowledge nothing more until a new connection is safe."""
        self._go_away(error)
        await self._lane.close()

    async def _store(self, batch: list[Entry]) -> None:
        batch.sort(key=by_key)
        known = await insert(self._lane, batch)
        if len(known) < len(batch):
            doorbell.ring("ingest.process")
        if not known:
            for entry in batch:
                entry.resolve(Outcome(Verdict.ACCEPTED, entry.receipt))
            return
        before = set(known)
        for entry in batch:
            if entry not in before:
                entry.resolve(Outcome(Verdict.ACCEPTED, entry.receipt))
        for entry, outcome in zip(known, await compare(self._lane, known), strict=True):
            entry.resolve(outcome)

    async def _sweep(self) -> None:
        """Answer callers whose time is over, whatever Postgres does meanwhile."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            now = loop.time()
            for entry in (*self._batch, *self._waiting):
                if entry.deadline_at <= now:
                    entry.resolve(UNAVAILABLE)
            for bundle in (self._bundle, *self._bundles):
                if bundle is not None and bundle.deadline_at <= now:
                    bundle.refuse(UNAVAILABLE)
