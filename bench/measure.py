"""What a run cost and how far processing was behind while it ran."""

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil
import psycopg

from tests.processes import tree

_PENDING = "SELECT count(*) FROM ingest_pendingcallback"


def cpu_s(pids: Sequence[int]) -> float:
    """Return the CPU time of processes, their descendants and those that ended."""
    total = 0.0
    for pid in pids:
        for process in tree(pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
                total += times.children_user + times.children_system
    return total


@dataclass(frozen=True)
class Kinds:
    """The processes by what they are for."""

    pids: Mapping[str, Sequence[int]]

    def read(self) -> dict[str, float]:
        """Return the CPU seconds of each kind so far."""
        return {kind: cpu_s(pids) for kind, pids in self.pids.items()}


def kinds(pids: Mapping[str, int]) -> Kinds:
    """Sort a platform's processes by what they are for."""
    named = {"listener": ("listener",), "postgres": ("postgres",), "redis": ("redis",)}
    sorted_pids = {
        kind: [pids[name] for name in names if name in pids]
        for kind, names in named.items()
    }
    workers = [pid for name, pid in pids.items() if name.startswith("ingest-")]
    return Kinds({**sorted_pids, "worker": workers})


def spent_us(
    before: Mapping[str, float], after: Mapping[str, float], count: int
) -> dict[str, float]:
    """Return the CPU microseconds a callback, by kind."""
    return {
        kind: round((after[kind] - before[kind]) / max(count, 1) * 1e6, 1)
        for kind in before
    }


class Backlog:
    """Counts the callbacks that wait, once a second, from a thread of its own."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.samples: list[int] = []

    def __enter__(self) -> "Backlog":
        """Begin to count."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop counting."""
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._stop.wait(1.0):
                self.samples.append(_pending(connection))


def drain_s(database_url: str, *, timeout_s: float) -> float:
    """
    Wait until nothing waits any more; return how long that took.

    Raises: TimeoutError: something still waits.
    """
    started_s = time.monotonic()
    with psycopg.connect(database_url, autocommit=True) as connection:
        while waiting := _pending(connection):
            if time.monotonic() - started_s > timeout_s:
                raise TimeoutError(f"{waiting} callbacks still wait.")
            time.sleep(0.05)
    return time.monotonic() - started_s


def _pending(connection: psycopg.Connection[tuple[object, ...]]) -> int:
    row = connection.execute(_PENDING).fetchone()
    return int(str(row[0])) if row else 0
