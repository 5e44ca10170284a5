"""What monitors ask a listener: alive, ready, and its figures."""

import asyncio

from prometheus_client import CONTENT_TYPE_LATEST

from ingest.listener import metrics, replies
from ingest.listener.ledger import Ledger
from ingest.listener.replies import Refused, Reply
from ingest.listener.requests import Request
from ingest.listener.sources import SourceDirectory

#: Seconds for which the answer of `/readyz` is kept.
READY_AGE_S = 1.0


class Probes:
    """Answers `/healthz`, `/readyz` and `/metrics`."""

    def __init__(self, ledger: Ledger, sources: SourceDirectory) -> None:
        self._ledger = ledger
        self._sources = sources
        self._ready: tuple[float, bool] = (0.0, False)

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
            return replies.plain(metrics.exposition(), content_type=CONTENT_TYPE_LATEST)
        if await self._is_ready():
            return replies.plain(b'{"status":"ready"}')
        return replies.plain(b'{"status":"not ready"}', status=503)

    async def _is_ready(self) -> bool:
        """Tell whether a callback would be taken now."""
        if self._ledger.is_away or self._ledger.is_full:
            return False
        now = asyncio.get_running_loop().time()
        asked_at, answer = self._ready
        if now - asked_at > READY_AGE_S:
            answer = await self._sources.ping()
            self._ready = (now, answer)
        return answer
