"""
A listener without a server: requests go straight into its core, thousands a second.

It runs in an event loop on a thread of its own, on the run's real Postgres, so that
tests (and hypothesis) can ask it synchronously.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ingest.listener.core import Listener
from ingest.listener.replies import Reply
from ingest.tests.listening import Sender

#: Requests that are under way at once: far below the listener's own bounds.
_AT_ONCE = 128
#: Seconds in which every request has its reply.
REPLY_LIMIT_S = 5.0


@dataclass(frozen=True)
class Ask:
    """A request as a transport would bring it."""

    path: str
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()
    method: str = "POST"
    client: str = "127.0.0.1:1"

    async def read(self) -> bytes:
        """Return the whole body."""
        return self.body

    async def chunks(self) -> AsyncIterator[bytes]:
        """Return the body in two pieces."""
        half = len(self.body) // 2
        yield self.body[:half]
        yield self.body[half:]


def signed(sender: Sender, body: bytes) -> Ask:
    """Return a request that is in order."""
    return plain(sender, body, sender.hub(body).items())


def plain(sender: Sender, body: bytes, headers: Iterable[tuple[str, str]]) -> Ask:
    """Return a request with these headers, and a JSON content type."""
    given = [(name.lower(), value) for name, value in headers]
    if "content-type" not in dict(given):
        given.append(("content-type", "application/json"))
    return Ask(sender.path, body, [*given, ("content-length", str(len(body)))])


class Wire:
    """The listener, and how to ask it from a test."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.listener: Listener = self.run(self._start())

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run this in the listener's loop, and return what it returns."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(300)

    def ask(self, request: Ask) -> Reply:
        """Return the reply to one request."""
        reply: Reply = self.run(self._ask(request))
        return reply

    def ask_all(self, requests: Iterable[Ask]) -> list[Reply]:
        """Return the replies to many requests, in order."""
        replies: list[Reply] = self.run(self._ask_all(list(requests)))
        return replies

    def close(self) -> None:
        """End it."""
        self.run(self.listener.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> Listener:
        listener = Listener()
        listener.start()
        return listener

    async def _ask(self, request: Ask) -> Reply:
        started_at = time.monotonic()
        reply = await self.listener.receive(request)
        assert time.monotonic() - started_at < REPLY_LIMIT_S
        return reply

    async def _ask_all(self, requests: list[Ask]) -> list[Reply]:
        replies: list[Reply] = []
        for start in range(0, len(requests), _AT_ONCE):
            batch = requests[start : start + _AT_ONCE]
            replies += await asyncio.gather(*map(self._ask, batch))
        return replies


@contextmanager
def wired() -> Generator[Wire, None, None]:
    """Run a listener for the length of the block."""
    wire = Wire()
    try:
        yield wire
    finally:
        wire.close()
