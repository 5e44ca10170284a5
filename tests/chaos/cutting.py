"""
`python -m tests.chaos.cutting FOLDER SERVER`: lose the database at each request.

A proxy with its socket in FOLDER stands before the database with its own in SERVER;
`DATABASE_URL` names the proxy. It cuts the connection at the nth
thing that is sent, either before the server has it or after it has answered; the worker
then works on as it would, and the next n is tried until a turn passes untouched.
"""

import contextlib
import json
import os
import socket
import sys
import threading
from pathlib import Path

import django
import psycopg

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from ingest.processing.batch import process_batch  # noqa: E402 (Django comes first)
from ingest.services.usage import recompute  # noqa: E402

_SOCKET = ".s.PGSQL.5432"
_MOST = 200


class Proxy:
    """Hands bytes on between clients and the database, until told not to."""

    def __init__(self, folder: Path, server: Path) -> None:
        self._server = server
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(folder / _SOCKET))
        self._door.listen(64)
        self._lock = threading.Lock()
        self._sent = 0
        self._cut_at: int | None = None
        self._is_after = False
        self.was_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, number: int, *, is_after: bool) -> None:
        """Cut at the nth request from now, before or after the server had it."""
        with self._lock:
            self._sent = 0
            self._cut_at, self._is_after, self.was_cut = number, is_after, False

    def disarm(self) -> None:
        """Cut nothing more."""
        with self._lock:
            self._cut_at = None

    def _accept(self) -> None:
        while True:
            client, _ = self._door.accept()
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(self._server / _SOCKET))
            wire = _Wire(self, client, server)
            for pump in (wire.forward, wire.back):
                threading.Thread(target=pump, daemon=True).start()

    def is_due(self) -> tuple[bool, bool]:
        """Count a request; tell whether to cut at it, and whether after it was done."""
        with self._lock:
            self._sent += 1
            is_due = self._sent == self._cut_at
            self.was_cut |= is_due
            return is_due, self._is_after


class _Wire:
    """One client's connection."""

    def __init__(
        self, proxy: Proxy, client: socket.socket, server: socket.socket
    ) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._swallows = False

    def forward(self) -> None:
        """Hand requests on."""
        with contextlib.suppress(OSError):
            while data := self._client.recv(1 << 20):
                is_due, is_after = self._proxy.is_due()
                if is_due and not is_after:
                    break
                self._swallows = is_due
                self._server.sendall(data)
        self._end()

    def back(self) -> None:
        """Hand answers on."""
        with contextlib.suppress(OSError):
            while data := self._server.recv(1 << 20):
                if self._swallows:
                    break
                self._client.sendall(data)
        self._end()

    def _end(self) -> None:
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def main(folder: str, server: str) -> None:
    """Try every n, before and after; say how many there were."""
    proxy = Proxy(Path(folder), Path(server))
    said = {"unclean": 0}
    for name, is_after in (("before", False), ("after", True)):
        for number in range(1, _MOST):
            proxy.arm(number, is_after=is_after)
            said["unclean"] += not _works()
            was_cut = proxy.was_cut
            proxy.disarm()
            said["unclean"] += not _works(expected=True)
            if not was_cut:
                break
            said[name] = number
    sys.stdout.write(f"{json.dumps(said)}\n")


def _works(*, expected: bool = False) -> bool:
    """Do a worker's turn; tell whether it ended as it may: done, or for later."""
    try:
        process_batch(1)
        recompute(10)
    except psycopg.OperationalError:
        return not expected
    return True


if __name__ == "__main__":
    main(*sys.argv[1:])
