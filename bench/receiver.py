"""
A callback URL that costs little: consents, answers 204, and counts.

`python -m bench.receiver` prints its port, and at SIGTERM how many POSTs it answered.
"""

import asyncio
import signal
import sys
from typing import cast

import uvloop

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length:"
_CONSENT = (
    b"HTTP/1.1 200 OK\r\nWebHook-Allowed-Origin: *\r\nWebHook-Allowed-Rate: *\r\n"
    b"Content-Length: 0\r\n\r\n"
)
_TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"


class Receiver(asyncio.Protocol):
    """One connection."""

    posts = 0

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transport is one by shape, not by class.
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._rest += data
        while (size := self._whole()) and self._transport is not None:
            is_post = self._rest.startswith(b"POST ")
            self._rest = self._rest[size:]
            Receiver.posts += is_post
            self._transport.write(_TAKEN if is_post else _CONSENT)

    def _whole(self) -> int:
        """Return the length of the first request; 0: it is not whole."""
        head_end = self._rest.find(_END_OF_HEAD)
        if head_end < 0:
            return 0
        size = head_end + len(_END_OF_HEAD)
        head = self._rest[:head_end].lower()
        at = head.find(_LENGTH)
        if at >= 0:
            size += int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
        return size if len(self._rest) >= size else 0


async def serve() -> None:
    """Serve until SIGTERM."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    server = await loop.create_server(Receiver, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await over.wait()
    sys.stdout.write(f"{Receiver.posts}\n")


if __name__ == "__main__":
    uvloop.run(serve())
