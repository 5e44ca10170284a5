"""
A load generator that costs little: raw HTTP/1.1 over kept connections, on uvloop.

Closed loop: each connection posts as soon as it was answered. Open loop: callbacks
are due at a fixed rate, and latency counts from when one was due, so that a server
that stalls cannot hide it. `python -m bench.load '{json}'` prints one JSON object.
"""

import asyncio
import json
import resource
import sys
import time
from array import array
from collections import Counter, deque
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import cast
from urllib.parse import urlsplit

import uvloop

from bench.bodies import SHAPES, Bodies, Requests

VERSION = "2"
#: Seconds after the load's end in which answers still count.
DRAIN_S = 10.0
_TICK_S = 0.001
_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass(frozen=True)
class Plan:
    """What to send where, how fast, how long."""

    url: str
    secret: str
    run: str
    seconds: float
    connections: int
    #: Callbacks a second; 0: closed loop.
    rate: float = 0.0
    #: The number of the first callback: which device, which hour.
    first: int = 0
    devices: int = 1000
    #: A name in `bench.bodies.SHAPES`.
    shape: str = "small"
    #: Callbacks at most; 0: as many as the time allows.
    limit: int = 0


@dataclass(frozen=True)
class Result:
    """What came of it."""

    generator: str
    sent: int
    #: Status to count; `broken`: no reply.
    replies: dict[str, int]
    seconds: float
    per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_s: float
    #: Accepted in each second.
    timeline: list[int]
    #: When it began, in seconds since the epoch.
    began_s: float


class Load:
    """One run: its connections, what is due, and what was measured."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        bodies = Bodies(
            SHAPES[plan.shape], run=plan.run, devices=plan.devices, first=plan.first
        )
        self.requests = Requests(plan.url, plan.secret, bodies)
        self.idle: list[Connection] = []
        self.due: deque[float] = deque()
        self.sent = 0
        self.busy = 0
        self.replies: Counter[str] = Counter()
        self.latencies = array("d")
        self.timeline: Counter[int] = Counter()
        self.started_s = 0.0
        self.ends_s = 0.0
        self.last_s = 0.0

    async def run(self) -> Result:
        """Connect, send until the time is over, wait for the last answers."""
        loop = asyncio.get_running_loop()
        address = urlsplit(self.plan.url)
        for _ in range(self.plan.connections):
            _, connection = await loop.create_connection(
                lambda: Connection(self), address.hostname or "", address.port or 80
            )
            self.idle.append(connection)
        self.started_s = time.perf_counter()
        self.ends_s = self.started_s + self.plan.seconds
        if self.plan.rate:
            await self._open_loop()
        else:
            while self.idle and self._has_more():
                self.idle.pop().post(time.perf_counter())
        await self._drain()
        return self._result()

    async def _open_loop(self) -> None:
        total = int(self.plan.rate * self.plan.seconds)
        scheduled = 0
        while scheduled < total:
            now_s = time.perf_counter()
            until = min(int((now_s - self.started_s) * self.plan.rate) + 1, total)
            for number in range(scheduled, until):
                self.due.append(self.started_s + number / self.plan.rate)
            scheduled = until
            while self.due and self.idle:
                self.idle.pop().post(self.due.popleft())
            await asyncio.sleep(_TICK_S)

    async def _drain(self) -> None:
        give_up_s = self.ends_s + DRAIN_S
        while (self._has_more() and time.perf_counter() < self.ends_s) or (
            (self.busy or self.due) and time.perf_counter() < give_up_s
        ):
            await asyncio.sleep(0.02)
        self.replies["broken"] += self.busy

    def _has_more(self) -> bool:
        return not self.plan.limit or self.sent < self.plan.limit

    def answered(self, connection: "Connection", status: str) -> None:
        """Take an answer; let the connection go on."""
        now_s = time.perf_counter()
        self.busy -= 1
        self.last_s = now_s
        self.replies[status] += 1
        self.latencies.append(now_s - connection.due_s)
        if status == "202":
            self.timeline[int(now_s - self.started_s)] += 1
        if self.due:
            connection.post(self.due.popleft())
        elif not self.plan.rate and now_s < self.ends_s and self._has_more():
            connection.post(now_s)
        else:
            self.idle.append(connection)

    def _result(self) -> Result:
        ordered = sorted(self.latencies)
        seconds = max(self.last_s - self.started_s, 0.001)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return Result(
            generator=f"bench.load {VERSION} (uvloop {version('uvloop')})",
            sent=self.sent,
            replies={k: v for k, v in sorted(self.replies.items()) if v},
            seconds=round(seconds, 3),
            per_second=round(self.replies["202"] / seconds, 1),
            p50_ms=_percentile_ms(ordered, 0.50),
            p99_ms=_percentile_ms(ordered, 0.99),
            max_ms=_percentile_ms(ordered, 1.0),
            cpu_s=round(usage.ru_utime + usage.ru_stime, 3),
            timeline=[self.timeline[second] for second in range(int(seconds) + 1)],
            began_s=time.time() - (time.perf_counter() - self.started_s),
        )


class Connection(asyncio.Protocol):
    """A kept connection with at most one request on its way."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self.due_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transport is one by shape, not by class.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that nothing more comes; what was on its way counts as broken."""
        self._transport = None

    def post(self, due_s: float) -> None:
        """Send the next callback."""
        if self._transport is None:
            return
        self.due_s = due_s
        self._load.sent += 1
        self._load.busy += 1
        self._transport.write(self._load.requests.next())

    def data_received(self, data: bytes) -> None:
        """Take a reply when it is whole."""
        self._rest = data = self._rest + data if self._rest else data
        head_end = data.find(_END_OF_HEAD)
        if head_end < 0:
            return
        head = data[:head_end].lower()
        at = head.find(_LENGTH)
        if at < 0:
            raise ValueError("The server sends replies without a length.")
        length = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
        if len(data) < head_end + len(_END_OF_HEAD) + length:
            return
        self._rest = b""
        self._load.answered(self, data[9:12].decode())


def _percentile_ms(ordered: list[float], share: float) -> float:
    if not ordered:
        return 0.0
    index = min(int(len(ordered) * share), len(ordered) - 1)
    return round(ordered[index] * 1000, 2)


def main() -> None:
    """Run the plan of the first argument."""
    plan = Plan(**json.loads(sys.argv[1]))
    result = uvloop.run(Load(plan).run())
    sys.stdout.write(json.dumps(asdict(result)) + "\n")


if __name__ == "__main__":
    main()
