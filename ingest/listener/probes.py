"""What monitors ask a listener: alive, ready, and its figures."""

import asyncio

from django.conf import settings
from prometheus_client import CONTENT_TYPE_LATEST

from ingest.listener import drain, metrics, replies
from ingest.listener.backlog import Backlog
from ingest.listener.ledger import Ledger
from ingest.listener.replies import Refused, Reply
from ingest.listener.requests import Request
from ingest.listener.siblings import Siblings
from ingest.listener.sources import SourceDirectory

#: Seconds for which the answer of `/readyz` is kept.
READY_AGE_S = 1.0
#: Seconds that `/readyz` waits for Postgres.
READY_TIMEOUT_S = 0.7
_READY = replies.plain(b'{"status":"ready"}')
_NOT_READY = replies.plain(b'{"status":"not ready"}', status=503)
_DRAINING = replies.plain(b'{"status":"draining"}', status=503)


class Probes:
    """Answers `/healthz`, `/readyz` and `/metrics`."""

    def __init__(self, ledger: Ledger, sources: SourceDirectory) -> None:
        self._ledger = ledger
        self._sources = sources
        self._backlog = Backlog()
        folder = settings.VAR / "run" / f"listener-{settings.LISTENER_PORT}"
        self._siblings = Siblings(folder)
        #: The newest question to Postgres, and when it was asked.
        self._ping: asyncio.Task[bool] | None = None
        self._asked_at = 0.0

    def start(self) -> None:
        """Begin to show this worker's figures to the others of its port."""
        self._siblings.start(metrics.exposition)

    async def close(self) -> None:
        """End that."""
        if self._ping is not None:
            self._ping.cancel()
            await asyncio.gather(self._ping, return_exceptions=True)
        await self._siblings.close()

    async def answer(self, request: Request) -> Reply:
        """
        Return what the probe asks for.

        Raises: Refused: there is no such probe.
        """
        if request.path not in {"/healthz", "/readyz", "/metrics"}:
            raise Refused(replies.NOT_FOUND)
        if request.method not in {"GET", "HEAD"}:
            raise Refused(replies.PROBE_METHOD_NOT_ALLOWED)
        if request.path == "/healthz":
            return replies.plain(b'{"status":"ok"}')
        if request.path == "/metrics":
            return await self._metrics()
        if drain.is_on():
            return _DRAINING
        return _READY if await self._is_ready() else _NOT_READY

    async def _metrics(self) -> Reply:
        """Return the figures of all workers of this port, and the database's."""
        metrics.DRAINING.set(drain.is_on())
        texts = [metrics.exposition(self._siblings.number), *self._siblings.others()]
        if not self._ledger.is_away:
            await self._backlog.refresh()
            texts.append(self._backlog.exposition())
        text = metrics.merged(texts)
        return replies.plain(text, content_type=CONTENT_TYPE_LATEST)

    async def _is_ready(self) -> bool:
        """Tell whether a callback would be taken now."""
        if self._ledger.is_away or self._ledger.is_full:
            return False
        now = asyncio.get_running_loop().time()
        ping = self._ping
        if ping is None or (ping.done() and now - self._asked_at > READY_AGE_S):
            ping = self._ping = asyncio.create_task(self._sources.ping(), name="ping")
            self._asked_at = now
        # Who asks is answered, also while Postgres does not answer.
        await asyncio.wait([ping], timeout=READY_TIMEOUT_S)
        return ping.done() and ping.result()
