"""The listener behind Granian, by its RSGI interface."""

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import AsyncIterator
from time import monotonic, perf_counter
from typing import Any

import django
from django.conf import settings
from granian.rsgi import (  # type: ignore[attr-defined]  # its own re-exports
    HTTPProtocol,
    ProtocolClosed,
    ProtocolError,
    Scope,
)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from ingest.listener import drain, metrics, workers  # noqa: E402
from ingest.listener.connections import SilentConnections  # noqa: E402
from ingest.listener.core import BODY_TIMEOUT_S, Listener  # noqa: E402
from ingest.listener.refusals import STDERR, adopt_loggers  # noqa: E402
from ingest.listener.requests import FORWARDED, BodyBroken  # noqa: E402
from tenants.addresses import UNREADABLE  # noqa: E402

#: What is still read of a body after its reply, so that the sender sees the reply
#: and not a reset connection.
DRAIN_BYTES = 32 * 1024 * 1024
_BROKEN = (ProtocolClosed, ProtocolError)
_IS_PROXIED = bool(settings.TRUSTED_PROXIES)
#: HTTP/2 has no such header: there the server says GOAWAY when it stops.
_CLOSE = ("connection", "close")
#: Seconds after SIGTERM in which the main process, which may have had it as well, says
#: that this is a drain.
_MOMENT_S = 0.2
#: Objects made and kept after which the collector looks at the young ones.
_COLLECT_AFTER = 20_000


class RsgiRequest:
    """A request as the core wants it."""

    __slots__ = ("_protocol", "_scope", "is_read", "method", "path")

    def __init__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        self.method = scope.method
        self.path = scope.path
        self.is_read = False
        self._scope = scope
        self._protocol = protocol

    @property
    def client(self) -> str:
        """The other end of the socket."""
        return self._scope.client

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers, as far as they are text; names in lower case."""
        found = self._scope.headers.items()
        if (
            _IS_PROXIED
            and FORWARDED in self._scope.headers
            and not any(name == FORWARDED for name, _ in found)
        ):
            # Left out, it would look as if the proxy itself had asked.
            found.append((FORWARDED, UNREADABLE))
        return found

    async def read(self) -> bytes:
        """Return the whole body. Raises: BodyBroken."""
        self.is_read = True
        try:
            return await self._protocol()
        except _BROKEN as error:
            raise BodyBroken from error

    async def chunks(self) -> AsyncIterator[bytes]:
        """Return the body piece by piece. Raises: BodyBroken."""
        try:
            async for piece in self._protocol:
                yield piece
        except _BROKEN as error:
            raise BodyBroken from error
        self.is_read = True

    async def drain(self) -> None:
        """Read, and forget, what is left of the body."""
        left = DRAIN_BYTES
        with contextlib.suppress(TimeoutError, *_BROKEN):
            async with asyncio.timeout(BODY_TIMEOUT_S):
                async for piece in self._protocol:
                    left -= len(piece)
                    if left < 0:
                        return


class RsgiListener:
    """The application that Granian's worker calls."""

    def __init__(self) -> None:
        self._listener: Listener | None = None
        self._connections = SilentConnections(settings.LISTENER_PORT)

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start in the worker's loop, before the first request."""
        adopt_loggers()
        loop.add_signal_handler(signal.SIGTERM, _end_when_due, loop)
        loop.run_until_complete(self._start())
        # When the loop runs, the socket listens.
        loop.call_soon(workers.hear_signals)
        loop.call_soon(workers.say_that_it_serves)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """End after the last request."""
        if self._listener is not None:
            loop.run_until_complete(self._connections.close())
            loop.run_until_complete(self._listener.close())
        STDERR.finish()

    async def _start(self) -> None:
        self._listener = Listener()
        self._listener.start()
        self._connections.start()
        _settle_memory()

    async def __rsgi__(self, scope: Scope, protocol: Any) -> None:
        """Answer one request."""
        if self._listener is None:
            raise RuntimeError("The listener was not started.")
        started_at = perf_counter()
        request = RsgiRequest(scope, protocol)
        reply = await self._listener.receive(request)
        headers = reply.headers
        if drain.is_on() and scope.http_version.startswith("1"):
            headers = [*headers, _CLOSE]
        protocol.response_bytes(reply.status, headers, reply.body)
        metrics.count_time(perf_counter() - started_at)
        if not request.is_read and request.method not in {"GET", "HEAD"}:
            await request.drain()


def _settle_memory() -> None:
    """
    Keep the garbage collector away from what was loaded, which stays.

    It walked all of it again and again, for a tenth of the time; what requests leave
    behind is freed without it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)


def _end_when_due(loop: asyncio.AbstractEventLoop) -> None:
    """End by SIGTERM: when the drain is over, or soon when there is none."""
    if drain.is_on():
        _end_unless_draining()
    else:
        loop.call_later(_MOMENT_S, _end_unless_draining)


def _end_unless_draining() -> None:
    # Until then, callbacks are taken; the main process says when it is over.
    if drain.ends_at() <= monotonic():
        # By SIGINT Granian ends a worker as soon as its requests are answered.
        os.kill(os.getpid(), signal.SIGINT)


listener = RsgiListener()
