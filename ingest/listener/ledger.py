"""
Making callbacks durable, many at a time.

Whatever arrives while one commit is under way is committed by the next one (group
commit), so an idle listener adds no delay and a busy one writes large batches. A
caller's future resolves after the commit returned, never before.
Source: docs/explanation/durability.md
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from time import perf_counter
from typing import NamedTuple
from uuid import UUID

import psycopg
from django.conf import settings

from ingest.listener import metrics
from ingest.listener.lanes import (
    COMMIT_SETTINGS,
    RECONNECT_PAUSES_S,
    Lane,
    UnsafeCommit,
    require_durable,
)
from tenants import doorbell
from tenants.identifiers import new_id

log = logging.getLogger(__name__)

#: Bodies that are committed together at most, in bytes.
BATCH_BYTES = 16 * 1024 * 1024
#: Seconds that a commit waits for more callbacks, when the last one had several …
GATHER_S = 0.004
#: … and how many need no more.
ENOUGH_GATHERED = 48
#: Seconds between looks for callers that have waited too long.
SWEEP_S = 0.1

#: Stores what is new and puts it in the workers' queue. `received_at` is the database's
#: clock; rows come sorted by key, so that two listeners never wait for each other in
#: a circle. What is not returned was there before. The settings come with it, for they
#: may change while the connection lasts.
STORE = f"""
WITH incoming AS (
    SELECT * FROM unnest(%b::uuid[], %b::bigint[], %b::uuid[], %b::text[], %b::bytea[],
                         %b::text[], %b::bytea[])
        AS i (id, tenant_id, source_id, transaction_id, digest, content_type, body)
), ledger AS (
    INSERT INTO ingest_callback
        (tenant_id, id, source_id, transaction_id, digest, received_at)
    SELECT tenant_id, id, source_id, transaction_id, digest, now() FROM incoming
    ON CONFLICT ON CONSTRAINT callback_transaction_unique DO NOTHING
    RETURNING id
), bodies AS (
    INSERT INTO ingest_callbackbody
        (tenant_id, callback_id, received_at, content_type, body)
    SELECT i.tenant_id, i.id, now(), i.content_type, i.body
    FROM incoming i JOIN ledger USING (id)
), queue AS (
    INSERT INTO ingest_pendingcallback (callback_id, tenant_id, source_id, received_at)
    SELECT i.id, i.tenant_id, i.source_id, now()
    FROM incoming i JOIN ledger USING (id)
)
SELECT id, (SELECT {COMMIT_SETTINGS}) FROM ledger
"""  # noqa: S608

#: The first callbacks under these keys. A statement of its own: the snapshot of STORE
#: does not show rows that another listener committed meanwhile.
FIRST = """
SELECT i.place, c.id, c.digest
FROM unnest(%b::bigint[], %b::bigint[], %b::uuid[], %b::text[])
    AS i (place, tenant_id, source_id, transaction_id)
JOIN ingest_callback c ON c.tenant_id = i.tenant_id AND c.source_id = i.source_id
    AND c.transaction_id = i.transaction_id COLLATE "C"
"""


class Verdict(Enum):
    """What became of a callback."""

    #: Committed now.
    ACCEPTED = 1
    #: The same bytes were committed before, under the receipt given.
    DUPLICATE = 2
    #: Other bytes were committed before under this transaction id.
    CONFLICT = 3
    #: Too many are waiting; not stored.
    OVERLOADED = 4
    #: Postgres is away, or did not say in time; a retry will tell.
    UNAVAILABLE = 5


class Outcome(NamedTuple):
    """A verdict, and the receipt that goes with the first two."""

    verdict: Verdict
    receipt: UUID | None = None


OVERLOADED = Outcome(Verdict.OVERLOADED)
UNAVAILABLE = Outcome(Verdict.UNAVAILABLE)
CONFLICT = Outcome(Verdict.CONFLICT)


@dataclass(slots=True, eq=False)
class Entry:
    """A verified callback on its way into the ledger."""

    tenant_id: int
    source_id: UUID
    transaction_id: str
    digest: bytes
    content_type: str
    body: bytes
    #: By the event loop's clock.
    deadline_at: float
    receipt: UUID = field(default_factory=new_id)
    #: Whether a commit of it was begun before, on a connection that was lost.
    is_retry: bool = False
    future: asyncio.Future[Outcome] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def resolve(self, outcome: Outcome) -> None:
        """Tell the caller, unless it was told already."""
        if not self.future.done():
            self.future.set_result(outcome)


def _key(entry: Entry) -> tuple[int, bytes, str]:
    return entry.tenant_id, entry.source_id.bytes, entry.transaction_id


class Ledger:
    """The one writer of a listener process."""

    def __init__(self) -> None:
        self._lane = Lane("ledger", statement_timeout_s=settings.LISTENER_DEADLINE_S)
        self._queue_length = settings.LISTENER_QUEUE_LENGTH
        self._batch_size = settings.LISTENER_BATCH_SIZE
        self._waiting: deque[Entry] = deque()
        self._batch: list[Entry] = []
        #: How many waited when the last commit began.
        self._last_size = 0
        self._wake = asyncio.Event()
        #: Whether Postgres cannot be reached now.
        self.is_away = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def depth(self) -> int:
        """How many callbacks wait for their commit."""
        return len(self._waiting) + len(self._batch)

    @property
    def is_full(self) -> bool:
        """Whether one more would be refused."""
        return len(self._waiting) + len(self._batch) >= self._queue_length

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

    async def _commit_waiting(self) -> None:
        while self._waiting:
            await self._gather()
            self._batch = batch = self._take()
            if not batch:
                continue
            try:
                await self._commit(batch)
            finally:
                self._batch = []
                self._settle(batch)
            if self._lane.connection is None:
                return
        self._wake.clear()

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
            await self._refuse(batch, error)
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

    async def _refuse(self, batch: list[Entry], error: UnsafeCommit) -> None:
        """Acknowledge nothing more until a new connection is safe."""
        for entry in batch:
            entry.resolve(UNAVAILABLE)
        self._go_away(error)
        await self._lane.close()

    async def _store(self, batch: list[Entry]) -> None:
        batch.sort(key=_key)
        cursor = await self._lane.execute(
            STORE,
            [
                [entry.receipt for entry in batch],
                [entry.tenant_id for entry in batch],
                [entry.source_id for entry in batch],
                [entry.transaction_id for entry in batch],
                [entry.digest for entry in batch],
                [entry.content_type for entry in batch],
                [entry.body for entry in batch],
            ],
        )
        first = await cursor.fetchone()
        if first is not None:
            doorbell.ring("ingest.process")
            require_durable(first[1])
        if cursor.rowcount == len(batch):
            for entry in batch:
                entry.resolve(Outcome(Verdict.ACCEPTED, entry.receipt))
            return
        others = await cursor.fetchall()
        stored = {row[0] for row in (first, *others) if row is not None}
        known = []
        for entry in batch:
            if entry.receipt in stored:
                entry.resolve(Outcome(Verdict.ACCEPTED, entry.receipt))
            else:
                known.append(entry)
        await self._compare(known)

    async def _compare(self, known: Sequence[Entry]) -> None:
        """Answer those whose transaction id was there already."""
        cursor = await self._lane.execute(
            FIRST,
            [
                list(range(len(known))),
                [entry.tenant_id for entry in known],
                [entry.source_id for entry in known],
                [entry.transaction_id for entry in known],
            ],
        )
        for place, receipt, digest in await cursor.fetchall():
            entry = known[place]
            if receipt == entry.receipt:
                entry.resolve(Outcome(Verdict.ACCEPTED, receipt))
            elif digest == entry.digest:
                entry.resolve(Outcome(Verdict.DUPLICATE, receipt))
            else:
                entry.resolve(CONFLICT)

    async def _sweep(self) -> None:
        """Answer callers whose time is over, whatever Postgres does meanwhile."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            metrics.QUEUE_DEPTH.set(self.depth)
            now = loop.time()
            for entry in (*self._batch, *self._waiting):
                if entry.deadline_at <= now:
                    entry.resolve(UNAVAILABLE)
