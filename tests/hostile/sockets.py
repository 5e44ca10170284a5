"""Bytes to a listener's port, as they are, and whatever replies come back."""

import asyncio
import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass

#: Nothing more is expected when a connection has said nothing for so long.
QUIET_S = 0.5
#: Connections that are open at once.
_AT_ONCE = 128


@dataclass(frozen=True)
class Exchange:
    """What one connection brought back."""

    statuses: tuple[int, ...]
    raw: bytes
    is_closed: bool
    #: Seconds until the last byte, or the end.
    took_s: float


def exchange_all(port: int, requests: Iterable[bytes]) -> list[Exchange]:
    """Send each over a connection of its own, and return what came back, in order."""

    async def inner() -> list[Exchange]:
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(request: bytes) -> Exchange:
            async with room:
                return await _exchange(port, request)

        return await asyncio.gather(*map(one, requests))

    return asyncio.run(inner())


def exchange(port: int, request: bytes) -> Exchange:
    """Send these bytes, and return what came back."""
    return exchange_all(port, [request])[0]


async def _exchange(port: int, request: bytes) -> Exchange:
    started_at = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = bytearray()
    is_closed = False
    took_s = 0.0
    with contextlib.suppress(TimeoutError, ConnectionError):
        writer.write(request)
        while not is_closed:
            async with asyncio.timeout(QUIET_S):
                piece = await reader.read(65_536)
            received += piece
            took_s = time.monotonic() - started_at
            is_closed = not piece
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    raw = bytes(received)
    return Exchange(_statuses(raw), raw, is_closed, took_s)


def _statuses(raw: bytes) -> tuple[int, ...]:
    """Return the status of each reply; every reply here says how long it is."""
    statuses = []
    while raw.startswith(b"HTTP/1."):
        head, _, rest = raw.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        statuses.append(int(lines[0].split(b" ")[1]))
        size = 0
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                size = int(value)
        raw = rest[size:]
    return tuple(statuses)
