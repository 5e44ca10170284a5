"""The doorbell's thread, with a Redis of its own that goes away and comes back."""

import os
import subprocess
import time
from collections.abc import Callable, Generator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis

from config.embedded import EmbeddedRedis
from tenants import doorbell
from tenants.doorbell import Doorbell

PROMPT = "billing.run_bills"
PAUSED = "ingest.recompute_usage"


class Broker:
    """A real Redis that a test may kill."""

    def __init__(self, var: Path) -> None:
        (var / "run").mkdir()
        self._server = EmbeddedRedis(var)
        self._process: subprocess.Popen[bytes] | None = None
        self.url = self._server.url

    def start(self) -> None:
        self._process = subprocess.Popen(self._server.command())
        until(self._server.is_ready)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def waiting(self, queue: str) -> int:
        with redis.Redis(unix_socket_path=str(self._server.socket)) as client:
            return int(client.llen(queue))


def until(is_so: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Generator[Broker]:
    # Short, for a Unix socket lives in it.
    with TemporaryDirectory(prefix="gh-bell-") as directory:
        one = Broker(Path(directory))
        monkeypatch.setenv("CELERY_BROKER_WRITE_URL", one.url)
        one.start()
        yield one
        one.kill()


def test_a_bell_for_later_rings_then_and_a_sooner_one_first(broker: Broker) -> None:
    bell = Doorbell()
    begun = time.monotonic()
    bell.ring(PROMPT, after_s=30.0)
    bell.ring(PROMPT, after_s=0.3)
    bell.ring(PROMPT, after_s=60.0)
    until(lambda: broker.waiting("billing") == 1)
    assert 0.3 <= time.monotonic() - begun < 5.0


def test_bells_ring_again_when_the_broker_is_back(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger=doorbell.log.name)
    monkeypatch.setitem(doorbell.LONGER_PAUSES_S, PAUSED, 3.0)
    bell = Doorbell()
    for task in (PROMPT, PAUSED):
        bell.ring(task)
    until(lambda: broker.waiting("billing") + broker.waiting("ingest") == 2)
    broker.kill()
    # The first fails at once; the second waits for the end of its pause.
    bell.ring(PAUSED)
    bell.ring(PROMPT)
    until(lambda: f"No bell for {PROMPT}" in caplog.text)
    broker.start()
    assert broker.waiting("billing") == 0
    until(lambda: broker.waiting("ingest") == 1)
    bell.ring(PROMPT)
    until(lambda: broker.waiting("billing") == 1)


def test_a_fault_that_nobody_thought_of_is_told_once_and_ends_nothing(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bell = Doorbell()
    monkeypatch.setenv("CELERY_BROKER_WRITE_URL", "nonsense://nowhere")
    bell.ring(PROMPT)
    until(lambda: "No bell for" in caplog.text)
    for task in (PAUSED, PROMPT):
        bell.ring(task)
    monkeypatch.setitem(os.environ, "CELERY_BROKER_WRITE_URL", broker.url)
    bell.ring(PROMPT)
    until(lambda: broker.waiting("billing") >= 1)
    assert caplog.text.count("No bell for") == 1
