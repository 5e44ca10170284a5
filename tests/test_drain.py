"""A listener that is told to end: who asks is told first, who sends is answered."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from io import BytesIO
from pathlib import Path

import psutil
import pycurl
import pytest

from ingest.tests.listening import (
    Running,
    Sender,
    callback,
    new_sender,
    running_listener,
    stored,
)
from tenants.models import Tenant

pytestmark = pytest.mark.processes

DRAIN_S = 2


@pytest.fixture
def sender(tenant: Tenant) -> Sender:
    return new_sender(tenant)


@contextmanager
def listening(
    folder: Path, *, workers: int = 1, drain_s: int = DRAIN_S
) -> Generator[Running, None, None]:
    environment = {"GRIDHOOK_DRAIN_S": str(drain_s)}
    with running_listener(folder, workers, environment) as running:
        wait_until(lambda: is_ready(running))
        yield running


def wait_until(fact: Callable[[], object], timeout_s: float = 15) -> None:
    pause = threading.Event()
    deadline = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < deadline
        pause.wait(0.002)


def is_ready(running: Running) -> bool:
    return running.ask("/readyz", method="GET").status == 200


def workers_of(running: Running) -> list[psutil.Process]:
    return psutil.Process(running.process.pid).children()


def half_sent(running: Running, sender: Sender, body: bytes) -> socket.socket:
    """A connection over which a callback came as far as the middle of its body."""
    link = socket.create_connection(("127.0.0.1", running.port), timeout=20)
    lines = {**sender.hub(body), "Host": "x", "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    link.sendall(f"POST {sender.path} HTTP/1.1\r\n{head}\r\n".encode())
    link.sendall(body[: len(body) // 2])
    return link


def status_of(link: socket.socket) -> int:
    response = HTTPResponse(link)
    response.begin()
    response.read()
    return response.status


def test_who_asks_is_told_at_once_and_who_sends_is_taken_until_the_end(
    tmp_path: Path, tenant: Tenant, sender: Sender
) -> None:
    with listening(tmp_path) as running:
        running.process.terminate()
        wait_until(lambda: not is_ready(running), timeout_s=DRAIN_S * 0.75)
        ready = running.ask("/readyz", method="GET")
        assert (ready.status, ready.document) == (503, {"status": "draining"})
        assert running.ask("/healthz", method="GET").status == 200
        answer = running.post(sender, callback("in-the-drain"))
        assert answer.status == 202
        assert answer.headers["connection"] == "close"
        assert running.process.wait(DRAIN_S + 5) == 0
    assert [row[0] for row in stored(tenant)] == ["in-the-drain"]


def test_a_request_that_was_begun_is_answered_after_the_drain(
    tmp_path: Path, tenant: Tenant, sender: Sender
) -> None:
    body = callback("half-sent")
    with listening(tmp_path) as running:
        begun = half_sent(running, sender, body)
        idle = HTTPConnection("127.0.0.1", running.port, timeout=20)
        idle.request("GET", "/healthz")
        assert idle.getresponse().read()
        running.process.terminate()
        # Granian closes what is idle when it stops accepting: the drain is over.
        assert idle.sock.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", running.port), timeout=1)
        begun.sendall(body[len(body) // 2 :])
        assert status_of(begun) == 202
        assert running.process.wait(5) == 0
        begun.close()
        idle.close()
    assert [row[0] for row in stored(tenant)] == ["half-sent"]


@pytest.mark.parametrize("signals", ["TERM TERM", "INT"])
def test_a_second_sigterm_or_sigint_leaves_the_drain_out_and_nothing_else(
    tmp_path: Path, tenant: Tenant, sender: Sender, signals: str
) -> None:
    body = callback("half-sent")
    with listening(tmp_path, drain_s=60) as running:
        begun = half_sent(running, sender, body)
        first, *second = signals.split()
        running.process.send_signal(signal.Signals[f"SIG{first}"])
        if second:
            wait_until(lambda: not is_ready(running))
            running.process.send_signal(signal.Signals[f"SIG{second[0]}"])
        wait_until(lambda: not accepts(running))
        begun.sendall(body[len(body) // 2 :])
        assert status_of(begun) == 202
        assert running.process.wait(10) == 0
        begun.close()
    assert [row[0] for row in stored(tenant)] == ["half-sent"]


def accepts(running: Running) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", running.port)) == 0


def test_a_signal_to_the_whole_group_drains_as_well(tmp_path: Path) -> None:
    with listening(tmp_path, workers=2) as running:
        processes = [psutil.Process(running.process.pid), *workers_of(running)]
        started_at = time.monotonic()
        for process in processes:
            process.terminate()
        wait_until(lambda: not is_ready(running), timeout_s=DRAIN_S * 0.75)
        assert running.process.wait(DRAIN_S + 5) == 0
        assert time.monotonic() - started_at > DRAIN_S


def test_workers_do_not_outlive_their_main_process(tmp_path: Path) -> None:
    with listening(tmp_path, workers=2) as running:
        workers = workers_of(running)
        running.process.kill()
        wait_until(lambda: not any(map(lives, workers)), timeout_s=5)
        # A process has ended before the last of its threads gives up the socket.
        wait_until(lambda: not accepts(running), timeout_s=5)


def test_a_worker_that_is_told_to_end_before_it_serves_ends(tmp_path: Path) -> None:
    with listening(tmp_path) as running:
        (first,) = workers_of(running)
        first.kill()
        wait_until(lambda: [one for one in workers_of(running) if one != first])
        (second,) = (one for one in workers_of(running) if one != first)
        # It drops its main process' handler, and has one of its own some time later.
        wait_until(lambda: not catches(second, signal.SIGINT))
        wait_until(lambda: catches(second, signal.SIGINT))
        second.send_signal(signal.SIGINT)
        wait_until(lambda: not lives(second), timeout_s=5)


def catches(process: psutil.Process, number: signal.Signals) -> bool:
    """Whether it has a handler for the signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (caught,) = (line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def lives(process: psutil.Process) -> bool:
    """Whether it runs; one that nobody collects has ended all the same."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_worker_that_is_killed_again_and_again_takes_no_other_along(
    tmp_path: Path,
) -> None:
    with listening(tmp_path, workers=2) as running:
        kept, victim = workers_of(running)
        for _ in range(3):
            victim.kill()
            wait_until(
                lambda gone=victim.pid: (
                    gone  # type: ignore[misc]  # bound on purpose
                    not in {process.pid for process in workers_of(running)}
                    and len(workers_of(running)) == 2
                )
            )
            (victim,) = (p for p in workers_of(running) if p.pid != kept.pid)
        assert running.process.poll() is None
        assert kept.is_running()


def test_sighup_starts_the_workers_again_and_the_listener_stays_ready(
    tmp_path: Path, sender: Sender
) -> None:
    with listening(tmp_path, workers=1) as running:
        (old,) = workers_of(running)
        os.kill(running.process.pid, signal.SIGHUP)
        while lives(old):
            # One that the kernel gave to the old worker a moment before its end.
            with contextlib.suppress(ConnectionResetError):
                assert running.post(sender, callback()).status == 202
        assert is_ready(running)


def test_a_request_over_http_2_that_was_begun_is_answered_as_well(
    tmp_path: Path, tenant: Tenant, sender: Sender
) -> None:
    body = callback("half-sent")
    with listening(tmp_path) as running:
        halves = iter([body[: len(body) // 2], body[len(body) // 2 :], b""])

        def read(_: int) -> bytes:
            half = next(halves)
            if body.endswith(half) and half:
                running.process.terminate()
                wait_until(lambda: not accepts(running))
            return half

        assert over_http_2(running, sender, body, read) == 202
        assert running.process.wait(5) == 0
    assert [row[0] for row in stored(tenant)] == ["half-sent"]


def over_http_2(
    running: Running, sender: Sender, body: bytes, read: Callable[[int], bytes]
) -> int:
    """Post what `read` gives, and return the status."""
    curl = pycurl.Curl()
    reply = BytesIO()
    try:
        curl.setopt(pycurl.URL, f"http://127.0.0.1:{running.port}{sender.path}")
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE)
        curl.setopt(pycurl.POST, 1)
        curl.setopt(pycurl.POSTFIELDSIZE, len(body))
        signed = sender.hub(body).items()
        curl.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in signed])
        curl.setopt(pycurl.READFUNCTION, read)
        curl.setopt(pycurl.WRITEDATA, reply)
        curl.setopt(pycurl.TIMEOUT, 20)
        curl.perform()
        assert curl.getinfo(pycurl.INFO_HTTP_VERSION) == pycurl.CURL_HTTP_VERSION_2_0
        status: int = curl.getinfo(pycurl.RESPONSE_CODE)
        return status
    finally:
        curl.close()
