"""
A listener that breaks the first rule on purpose: it answers before the commit.

For the negative controls of `tests.chaos`: a row that stays green with this one tests
nothing.
"""

from collections.abc import AsyncIterator
from typing import Any

from ingest.listener.rsgi import RsgiListener, RsgiRequest

_REPLY = b'{"status": "accepted"}'
_HEADERS = [("content-type", "application/json")]


class BufferedRequest(RsgiRequest):
    """A request whose body has been read already."""

    def __init__(self, scope: Any, protocol: Any, body: bytes) -> None:
        super().__init__(scope, protocol)
        self._body = body
        self.is_read = True

    async def read(self) -> bytes:
        """Return the body."""
        return self._body

    async def chunks(self) -> AsyncIterator[bytes]:
        """Return the body in one piece."""
        yield self._body


class EarlyListener(RsgiListener):
    """Says 202 first and commits afterwards."""

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Answer a callback at once; everything else as the product does."""
        if scope.method != "POST" or self._listener is None:
            await super().__rsgi__(scope, protocol)
            return
        body = await protocol()
        protocol.response_bytes(202, _HEADERS, _REPLY)
        await self._listener.receive(BufferedRequest(scope, protocol, body))


listener = EarlyListener()
