"""The listener's main process hears every signal, whatever it is doing then."""

import signal
from collections.abc import Generator

import pytest

from ingest.listener import server as module
from ingest.listener.server import DrainingServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Generator[DrainingServer, None, None]:
    """A main process that is told something 3,000 times a second."""
    monkeypatch.setattr(module, "LOOK_S", 0.0001)
    server = DrainingServer(1)
    before = signal.signal(signal.SIGALRM, server.signal_handler_reload)
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
    yield server
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_no_instant_is_wrong_for_a_signal(server: DrainingServer) -> None:
    for _ in range(5_000):
        server.main_loop_interrupt.wait()
        server.reload_signal = False
        server.main_loop_interrupt.clear()
