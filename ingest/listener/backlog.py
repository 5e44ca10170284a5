"""How much the workers have before them: asked of Postgres rarely, never for long."""

import asyncio

import psycopg
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from ingest.listener.lanes import Lane, UnsafeCommit

#: Seconds for which an answer is kept.
AGE_S = 5.0
#: Seconds that the answer may take.
TIMEOUT_S = 2.0
#: What is counted at most: a count walks the rows.
COUNTED = 100_000

#: Ids sort by time, so the key's first is the oldest.
WAITING = f"""
SELECT (SELECT count(*) FROM (SELECT FROM ingest_pendingcallback LIMIT {COUNTED}) p),
    coalesce((SELECT extract(epoch FROM now() - received_at)::float8
        FROM ingest_pendingcallback ORDER BY callback_id LIMIT 1), 0)
"""  # noqa: S608 (the number above)

REGISTRY = CollectorRegistry()
CALLBACKS = Gauge(
    "gridhook_backlog_callbacks",
    "Callbacks in the ledger that no worker has finished; counted to 100000.",
    registry=REGISTRY,
)
AGE_SECONDS = Gauge(
    "gridhook_backlog_age_seconds",
    "Time since the oldest of them was received.",
    registry=REGISTRY,
)


class Backlog:
    """What one worker last heard about the queue in Postgres."""

    def __init__(self) -> None:
        self._lane = Lane("backlog", statement_timeout_s=TIMEOUT_S)
        self._asking = asyncio.Lock()
        self._asked_at = -AGE_S
        #: Whether the last question was answered.
        self._is_known = False

    async def refresh(self) -> None:
        """Ask, unless the last answer is young; an open question is not asked twice."""
        async with self._asking:
            now = asyncio.get_running_loop().time()
            if now - self._asked_at < AGE_S:
                return
            self._asked_at = now
            self._is_known = await self._ask()

    async def _ask(self) -> bool:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._lane.open()
                cursor = await self._lane.execute(WAITING)
                row = await cursor.fetchone()
        except (TimeoutError, psycopg.Error, UnsafeCommit):
            return False
        finally:
            # A scrape every quarter of a minute is not worth a connection.
            await self._lane.close()
        if row is not None:
            CALLBACKS.set(row[0])
            AGE_SECONDS.set(row[1])
        return row is not None

    def exposition(self) -> bytes:
        """Return the figures; nothing where Postgres did not say."""
        return generate_latest(REGISTRY) if self._is_known else b""
