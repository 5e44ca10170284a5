"""
Receivers of all kinds on one thread: good ones, and bad ones in every way there is.

Each has an address of its own, `/<kind>/<number>`; all consent. What arrived is kept as
it came, with what was answered, for the oracle to judge.
"""

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

_CONSENT = b"WebHook-Allowed-Origin: *\r\n"
_BLOCK = b"x" * 16_384
#: Long before this a sender has hung up.
_ENDLESS_BLOCKS = 10_000
_DRIP_S = 0.1


@dataclass(frozen=True)
class Arrival:
    """One message that a receiver took in."""

    path: str
    headers: dict[str, str]
    body: bytes
    #: By the wall clock, which the database's is.
    at_s: float
    #: How often the id had come to this path, this time included.
    number: int

    @property
    def message_id(self) -> str:
        """The id that stays the same over all attempts."""
        return self.headers.get("webhook-id", "")


@dataclass
class Call:
    """One request at a receiver, and the way to answer it."""

    arrival: Arrival
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, status: int, headers: bytes = b"", body: bytes = b"") -> int:
        """Answer in full; return the status."""
        head = b"HTTP/1.1 %d Told\r\n%sContent-Length: %d\r\n\r\n"
        self.writer.write(head % (status, headers, len(body)) + body)
        await self.writer.drain()
        return status

    def reset(self) -> int:
        """Have the connection end as if the machine had gone."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        return 0


async def _good(call: Call) -> int:
    return await call.say(204)


async def _slow(call: Call) -> int:
    await asyncio.sleep(0.1)
    return await call.say(204)


async def _flaky(call: Call) -> int:
    return await call.say(500 if call.arrival.number == 1 else 204)


async def _busy(call: Call) -> int:
    if call.arrival.number > 1:
        return await call.say(204)
    return await call.say(429, b"Retry-After: 1\r\n")


async def _unsure(call: Call) -> int:
    """Take the message in, and break off before it is said."""
    return call.reset() if call.arrival.number == 1 else await call.say(204)


async def _endless(call: Call) -> int:
    """Say yes, and then more than anyone reads: the yes counts."""
    call.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    with contextlib.suppress(OSError):
        for _ in range(_ENDLESS_BLOCKS):
            call.writer.write(b"%x\r\n%s\r\n" % (len(_BLOCK), _BLOCK))
            await call.writer.drain()
    return 200


async def _failing(call: Call) -> int:
    return await call.say(500, body=b"no")


async def _away(call: Call) -> int:
    return await call.say(503, b"Retry-After: 0\r\n")


async def _moved(call: Call) -> int:
    return await call.say(302, b"Location: /good/0\r\n")


async def _junk(call: Call) -> int:
    call.writer.write(b"\x16\x03\x01 what is this\r\n\r\n")
    await call.writer.drain()
    return 0


async def _resets(call: Call) -> int:
    return call.reset()


async def _silent(call: Call) -> int:
    """Hang up without a word."""
    del call
    return 0


async def _hangs(call: Call) -> int:
    """Say nothing, for longer than anyone waits."""
    await call.reader.read()
    return 0


async def _drips(call: Call) -> int:
    for byte in b"HTTP/1.1 204 No Content\r\nX-Long: " + b"x" * 1_000:
        call.writer.write(bytes([byte]))
        await call.writer.drain()
        await asyncio.sleep(_DRIP_S)
    return 0


Behaviour = Callable[[Call], Awaitable[int]]
#: Kinds to which every message comes through in the end.
TAKING: dict[str, Behaviour] = {
    "good": _good,
    "slow": _slow,
    "flaky": _flaky,
    "busy": _busy,
    "unsure": _unsure,
    "endless": _endless,
}
#: Kinds to which none does.
REFUSING: dict[str, Behaviour] = {
    "failing": _failing,
    "away": _away,
    "moved": _moved,
    "junk": _junk,
    "resets": _resets,
    "silent": _silent,
    "hangs": _hangs,
    "drips": _drips,
}
KINDS = {**TAKING, **REFUSING}


#: Method, path, headers and body.
Request = tuple[str, str, dict[str, str], bytes]


@dataclass
class Crowd:
    """All receivers, what came to them, and what they said."""

    port: int = 0
    #: By path and id: what came, oldest first, and what was said to it (0: nothing).
    arrivals: dict[tuple[str, str], list[Arrival]] = field(
        default_factory=lambda: defaultdict(list)
    )
    answers: dict[tuple[str, str], list[int]] = field(
        default_factory=lambda: defaultdict(list)
    )
    #: Messages taken in, and those not answered yet.
    count: int = 0
    in_flight: int = 0
    #: A path's kind from now on, whatever its name says.
    turned: dict[str, str] = field(default_factory=dict)

    def url(self, path: str) -> str:
        """Return a receiver's address."""
        return f"http://127.0.0.1:{self.port}{path}"

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer one connection's requests."""
        # Cancelled: the receivers end.
        ended = (OSError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with contextlib.suppress(*ended):
            while request := await _request(reader):
                if not await self._answer(request, reader, writer):
                    break
        with contextlib.suppress(OSError):
            writer.close()

    async def _answer(
        self,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Answer one request; tell whether the connection is good for another."""
        method, path, headers, body = request
        if method != "POST":
            head = b"HTTP/1.1 200 OK\r\n%sContent-Length: 0\r\n\r\n"
            writer.write(head % _CONSENT)
            await writer.drain()
            return True
        key = path, headers.get("webhook-id", "")
        number = len(self.arrivals[key]) + 1
        arrival = Arrival(path, headers, body, time.time(), number)
        self.arrivals[key].append(arrival)
        self.count += 1
        self.in_flight += 1
        said = 0
        try:
            kind = self.turned.get(path) or path.split("/")[1]
            said = await KINDS[kind](Call(arrival, reader, writer))
        finally:
            self.in_flight -= 1
            self.answers[key].append(said)
        return bool(said)


async def _request(reader: asyncio.StreamReader) -> Request | None:
    """Return the next request: method, path, headers and body; None: there is none."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ", 2)
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return method, path.partition("?")[0], headers, body


@contextmanager
def gathered() -> Generator[Crowd]:
    """Run the receivers for the block."""
    crowd = Crowd()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(crowd.serve, "127.0.0.1", 0, backlog=512)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    crowd.port = server.sockets[0].getsockname()[1]

    async def stop() -> None:
        server.close()
        mine = asyncio.current_task()
        rest = [task for task in asyncio.all_tasks() if task is not mine]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    try:
        yield crowd
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()
