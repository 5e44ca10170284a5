"""
A client that writes down what it sent and what it was told.

Its ledger is a file that is only appended to, a line for each try. It behaves as
senders do in the field: it repeats itself, also at the same moment to two listeners,
goes to the other listener when one does not answer, and sometimes hangs up before it
has heard the reply. `tests.oracle` judges.
"""

import hashlib
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from tenants import signing
from tests.processes import Source

READINGS_EACH = 2
SERVER_ERROR = 500
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_DEVICES = 40
#: Seconds in which an undecided callback is posted again, where it is.
_RETRY_S = 30.0
_PAUSE_S = 0.2
#: A close that tells the other end at once, with a reset.
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Habits:
    """How a client behaves."""

    #: Share of the callbacks that are posted twice, every other one of them at once.
    repeats: float = 0.2
    #: Share of the posts whose reply is not waited for.
    hangs_up: float = 0.0
    #: Share of the undecided callbacks that are posted again until they are decided.
    insists: float = 0.5
    seed: int = 0


class Client:
    """Posts callbacks at a rate from several threads, and keeps the ledger."""

    def __init__(
        self,
        source: Source,
        ledger: Path,
        *,
        threads: int = 8,
        urls: Sequence[str] = (),
        habits: Habits | None = None,
    ) -> None:
        self._source = source
        self._targets = [urlsplit(url) for url in urls or [source.url]]
        self._ledger = ledger.open("a", buffering=1)
        self._lock = threading.Lock()
        self._numbers = count()
        self._stop = threading.Event()
        self._count = threads
        self._habits = habits or Habits()
        self._pause_s = 0.0
        self._threads: list[threading.Thread] = []
        self._twins = ThreadPoolExecutor(threads)
        #: Callbacks that no listener took at the first asking of each.
        self.refused_by_all = 0
        self.sent = 0

    def start(self, rate: float) -> None:
        """Begin to post so many a second."""
        self._pause_s = self._count / rate
        self._threads = [
            threading.Thread(target=self._run, name=f"client-{n}")
            for n in range(self._count)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop, and wait for the answers that are still to come."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._twins.shutdown()
        self._ledger.close()

    def _run(self) -> None:
        due_s = time.monotonic()
        while not self._stop.is_set():
            self._deliver(next(self._numbers))
            due_s = max(due_s + self._pause_s, time.monotonic() - 1)
            self._stop.wait(max(due_s - time.monotonic(), 0))

    def _deliver(self, number: int) -> None:
        """Post a callback as this sender would, until it is decided or given up."""
        mood = random.Random(f"{self._habits.seed}/{number}")  # noqa: S311 (no secret)
        body = callback_body(self._source.public_id, number)
        if mood.random() < self._habits.hangs_up:
            self._hang_up(number, body, after_s=mood.choice((0.0, 0.005)))
        repeats = mood.random() < self._habits.repeats
        twin = None
        if repeats and number % 2:
            twin = self._twins.submit(self.post, number, body, turn=1)
        status = self._ask_each(number, body)
        if repeats and not number % 2:
            status = self.post(number, body, turn=1)
        give_up_s = time.monotonic() + _RETRY_S
        insists = mood.random() < self._habits.insists
        while insists and not _is_decided(status) and time.monotonic() < give_up_s:
            time.sleep(_PAUSE_S)
            status = self._ask_each(number, body)
        if twin is not None:
            twin.result()

    def _ask_each(self, number: int, body: bytes) -> int:
        """Post to one listener after the other until one decides."""
        status = 0
        for turn in range(len(self._targets)):
            status = self.post(number, body, turn=turn)
            if _is_decided(status):
                break
        with self._lock:
            self.sent += 1
            self.refused_by_all += not _is_decided(status)
        return status

    def post_number(self, number: int, *, turn: int = 0) -> int:
        """Post a callback of this sender's once."""
        body = callback_body(self._source.public_id, number)
        return self.post(number, body, turn=turn)

    def post(self, number: int, body: bytes, *, turn: int = 0) -> int:
        """Post once; return the status, or 0 when no whole reply came."""
        target = self._targets[(number + turn) % len(self._targets)]
        began_s = time.monotonic()
        answer = exchange(target, self._source.secret, body)
        self._write(number, body, answer, began_s=began_s)
        return answer.status

    def _hang_up(self, number: int, body: bytes, *, after_s: float) -> None:
        """Send the whole request, and reset the connection without an answer."""
        target = self._targets[number % len(self._targets)]
        head = "".join(
            f"{name}: {value}\r\n"
            for name, value in {
                "Host": target.netloc,
                "Content-Length": str(len(body)),
                **_headers(self._source.secret, body),
            }.items()
        )
        began_s = time.monotonic()
        try:
            with socket.create_connection(
                (str(target.hostname), target.port or 80), timeout=5
            ) as wire:
                wire.sendall(f"POST {target.path} HTTP/1.1\r\n{head}\r\n".encode())
                wire.sendall(body)
                time.sleep(after_s)
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except OSError:
            pass
        self._write(number, body, Answer(), began_s=began_s)

    def _write(
        self, number: int, body: bytes, answer: "Answer", *, began_s: float
    ) -> None:
        line = {
            "id": callback_name(number),
            "sha256": hashlib.sha256(body).hexdigest(),
            **asdict(answer),
            "began_s": began_s,
            "ended_s": time.monotonic(),
        }
        with self._lock:
            self._ledger.write(json.dumps(line) + "\n")


@dataclass(frozen=True)
class Answer:
    """What came back of a post."""

    #: 0: no whole reply.
    status: int = 0
    receipt: str | None = None
    #: Whether a listener took the connection and did not answer.
    was_cut: bool = False
    #: What a 503 says about coming again.
    retry_after: str | None = None


def exchange(
    target: SplitResult, secret: str, body: bytes, *, timeout_s: float = 10
) -> Answer:
    """Post once."""
    page = HTTPConnection(str(target.hostname), target.port, timeout=timeout_s)
    is_connected = False
    try:
        page.connect()
        is_connected = True
        page.request("POST", target.path, body, _headers(secret, body))
        reply = page.getresponse()
        said: dict[str, Any] = json.loads(reply.read())
    except (OSError, HTTPException, ValueError):
        return Answer(was_cut=is_connected)
    finally:
        page.close()
    return Answer(
        reply.status, said.get("receipt"), retry_after=reply.headers.get("Retry-After")
    )


def callback_name(number: int) -> str:
    """Return the transaction id of a callback."""
    return f"ledger/{number:07}"


def callback_body(prefix: str, number: int) -> bytes:
    """Return a callback whose readings no other callback has."""
    hour, device = divmod(number, _DEVICES)
    start_at = _EPOCH + timedelta(hours=hour)
    body = {
        "transaction_id": callback_name(number),
        "device": f"{prefix}-D-{device:03}",
        "readings": [
            {
                "at": (start_at + timedelta(minutes=30 * half)).isoformat(),
                "duration_s": 1800,
                "value": "1",
                "unit": "kWh",
            }
            for half in range(READINGS_EACH)
        ],
    }
    return json.dumps(body).encode()


def _headers(secret: str, body: bytes) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "X-Hub-Signature-256": signing.sign_hub(signing.hub_key(secret), body),
    }


def _is_decided(status: int) -> bool:
    return 0 < status < SERVER_ERROR
