"""
How the workers of one port know each other, so that any of them shows all figures.

Each holds a lock on a file with its number, which the kernel drops with the process,
and leaves its figures beside it. A file that nobody locks belongs to the dead.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

#: Seconds between two times that a worker leaves its figures.
PAUSE_S = 2.0
_WORKERS = 1024


class Siblings:
    """The workers of one port on this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: int | None = None
        #: This worker's number among them.
        self.number = 1
        self._task: asyncio.Task[None] | None = None

    def start(self, figures: Callable[[int], bytes]) -> None:
        """Join the others, and leave this worker's figures from now on."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._join()
        except OSError as error:
            log.warning("/metrics shows one worker alone: %s", error)
            return
        self._task = asyncio.create_task(self._leave(figures), name="siblings")

    async def close(self) -> None:
        """Leave the others."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._lock is not None:
            os.close(self._lock)

    def others(self) -> list[bytes]:
        """Return what the others that live left last."""
        found: list[bytes] = []
        for lock in self._folder.glob("*.lock"):
            number = int(lock.stem)
            if number != self.number and _is_held(lock):
                with contextlib.suppress(FileNotFoundError):
                    found.append(self._figures(number).read_bytes())
        return found

    def _join(self) -> None:
        for number in range(1, _WORKERS + 1):
            lock = os.open(self._folder / f"{number}.lock", os.O_RDWR | os.O_CREAT)
            if _take(lock, fcntl.LOCK_EX):
                self._lock, self.number = lock, number
                self._figures(number).unlink(missing_ok=True)
                return
            os.close(lock)
        raise OSError(f"More than {_WORKERS} workers in {self._folder}.")

    async def _leave(self, figures: Callable[[int], bytes]) -> None:
        while True:
            if len(list(self._folder.glob("*.lock"))) > 1:
                text = figures(self.number)
                # In a thread: a busy disk holds up whoever writes.
                await asyncio.to_thread(self._write, text)
            await asyncio.sleep(PAUSE_S)

    def _write(self, text: bytes) -> None:
        fresh = self._folder / f"{self.number}.new"
        with contextlib.suppress(OSError):
            fresh.write_bytes(text)
            fresh.replace(self._figures(self.number))

    def _figures(self, number: int) -> Path:
        return self._folder / f"{number}.prom"


def _is_held(path: Path) -> bool:
    lock = os.open(path, os.O_RDWR)
    try:
        return not _take(lock, fcntl.LOCK_SH)
    finally:
        os.close(lock)


def _take(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
