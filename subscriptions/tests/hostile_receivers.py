"""Receivers that answer as no server should: real sockets, a port for each."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from django.test import override_settings

from subscriptions.http import Driver, Outcome, Request

DEADLINE_S = 1.5
MEMORY_BYTES = 20 * 1024 * 1024
#: How it behaves once the request's beginning was read.
Script = Callable[[socket.socket, threading.Event], None]


def says(*chunks: bytes, pause_s: float = 0.0, again: bool = False) -> Script:
    """Send these bytes, once or for ever, and then close."""

    def script(peer: socket.socket, over: threading.Event) -> None:
        while not over.is_set():
            for chunk in chunks:
                peer.sendall(chunk)
                if pause_s and over.wait(pause_s):
                    return
            if not again:
                return

    return script


def then(*scripts: Script) -> Script:
    """Behave as one after the other."""

    def script(peer: socket.socket, over: threading.Event) -> None:
        for one in scripts:
            one(peer, over)

    return script


def stays(peer: socket.socket, over: threading.Event) -> None:
    """Say nothing and keep the connection."""
    over.wait()


def resets(peer: socket.socket, over: threading.Event) -> None:
    """End the connection with a reset."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@dataclass
class HostileReceiver:
    """One of them."""

    script: Script
    #: Whether it reads before it answers; TLS that stalls does not.
    reads: bool = True
    listener: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def serve(self, over: threading.Event) -> None:
        """Serve one connection."""
        try:
            peer, _ = self.listener.accept()
        except OSError:
            return
        with peer:
            try:
                if self.reads:
                    peer.recv(65536)
                self.script(peer, over)
            except OSError:
                pass


@contextmanager
def at_large(receivers: Sequence[HostileReceiver]) -> Generator[None]:
    """Let all of them serve for the block."""
    over = threading.Event()
    threads = [
        threading.Thread(target=one.serve, args=(over,), daemon=True)
        for one in receivers
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for one in receivers:
            one.listener.shutdown(socket.SHUT_RDWR)
            one.listener.close()
        for thread in threads:
            thread.join(5)
            assert not thread.is_alive()


def met(
    receivers: Sequence[HostileReceiver], urls: dict[str, str]
) -> dict[str, Outcome]:
    """Ask all of them at once; the deadline holds, and memory is flat."""
    ended: dict[str, Outcome] = {}
    with (
        override_settings(DELIVERY_TIMEOUT_S=DEADLINE_S),
        at_large(receivers),
        Driver[str]() as driver,
    ):
        before = most = _resident_bytes()
        started = time.monotonic()
        for name, url in urls.items():
            driver.add(Request(url, body=b"{}"), name)
        while len(driver):
            ended.update(driver.step(0.2))
            most = max(most, _resident_bytes())
        assert time.monotonic() - started < DEADLINE_S + 1
    assert most - before < MEMORY_BYTES
    return ended


def check_bounds(outcome: Outcome, error: str, status_code: int | None) -> None:
    """Tell whether it is what an attempt has of such a receiver, within its bounds."""
    assert (outcome.error, outcome.status_code) == (error, status_code), outcome.detail
    assert outcome.duration_s < DEADLINE_S + 0.5
    assert len(outcome.body) <= 65536
    assert len(outcome.head) <= 4096
    assert len(outcome.detail) <= 300
    assert (error == "") or outcome.detail


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
