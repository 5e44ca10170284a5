"""Large bodies and slow senders before a real listener: bounded, in nobody's way."""

import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import psutil
import pytest
from django.conf import settings

from ingest.listener import BACKLOG, connections, core, server
from ingest.tests.listening import Answer, Running, Sender, callback, running_listener

MIB = 1024 * 1024
SLOW = 500


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running, None, None]:
    """One worker process, whose memory and connections are looked at."""
    with running_listener(tmp_path_factory.mktemp("alone"), workers=1) as running:
        yield running


def worker(running: Running) -> psutil.Process:
    found = psutil.Process(running.process.pid).children(recursive=True)
    return max(found, key=lambda one: one.memory_info().rss)


@contextmanager
def peak_rss(process: psutil.Process) -> Generator[list[int], None, None]:
    """Watch a process' memory: before, and at its most."""
    seen = [process.memory_info().rss] * 2
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.005):
            seen[1] = max(seen[1], process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        thread.join()


@contextmanager
def honest(running: Running, sender: Sender) -> Generator[list[float], None, None]:
    """Post small callbacks all the while; all must be accepted."""
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    is_over = threading.Event()

    def post() -> None:
        while not is_over.wait(0.01):
            started_at = time.monotonic()
            statuses[running.post(sender, callback()).status] += 1
            latencies.append(time.monotonic() - started_at)

    thread = threading.Thread(target=post)
    thread.start()
    try:
        yield latencies
    finally:
        is_over.set()
        thread.join()
    assert set(statuses) == {202}


def p99(latencies: list[float]) -> float:
    return sorted(latencies)[int(len(latencies) * 0.99)]


def test_fifty_large_bodies_at_once_stay_in_bounds_and_let_small_ones_through(
    alone: Running, sender: Sender
) -> None:
    body = callback(note="x" * (10 * MIB - 400))
    headers = sender.hub(body)
    start = threading.Barrier(50)

    def post(_: int) -> Answer:
        start.wait(20)
        return alone.ask(sender.path, body, headers)

    alone.post(sender, callback())
    with (
        peak_rss(worker(alone)) as seen,
        honest(alone, sender) as latencies,
        ThreadPoolExecutor(50) as pool,
    ):
        answers = list(pool.map(post, range(50)))
    statuses = Counter(answer.status for answer in answers)
    # Each was told; the first is new, others of its bytes are known by then.
    assert set(statuses) <= {200, 202, 503}
    assert statuses[202] == 1
    assert {one.code for one in answers} <= {"accepted", "duplicate", "overloaded"}
    assert seen[1] - seen[0] <= 2 * settings.LISTENER_INFLIGHT_BYTES
    # A small one waits for the processor, not for the large ones' commits.
    assert p99(latencies) < 1.5
    assert alone.post(sender, callback()).status == 202


def head(sender: Sender, body: bytes, *more: str) -> bytes:
    lines = [f"{name}: {value}" for name, value in sender.hub(body).items()]
    return "\r\n".join(
        [f"POST {sender.path} HTTP/1.1", "Host: x", *lines, *more, "", ""]
    ).encode()


def slow_ways(sender: Sender) -> dict[str, tuple[bytes, bytes]]:
    """Return what is sent at once, and what drips afterwards."""
    body = callback()
    whole = head(sender, body, f"Content-Length: {len(body)}")
    large = head(sender, body, f"Content-Length: {MIB}")
    chunked = head(sender, body, "Transfer-Encoding: chunked")
    return {
        "silent": (b"", b""),
        "half a head": (whole[:40], b""),
        "a head that drips": (whole[:40], whole[40:100]),
        "half a body": (whole + body[:10], b""),
        "a body that drips": (whole + body[:10], body[10:70]),
        "half a large body": (large + b"x" * 100_000, b""),
        "a large body that drips": (large, b"x" * 100),
        "half a chunk": (chunked + b"50\r\nabc", b""),
        "a reply and no more": (whole + body, b""),
    }


def ended(link: socket.socket) -> tuple[bool, bytes]:
    """Return whether the other side ended it, and what it said before."""
    said = b""
    try:
        while select.select([link], [], [], 0)[0]:
            data = link.recv(65536)
            if not data:
                return True, said
            said += data
    except ConnectionResetError:
        return True, said
    return False, said


def test_slow_senders_are_cut_off_and_honest_ones_do_not_notice(
    alone: Running, sender: Sender
) -> None:
    with honest(alone, sender) as before:
        wait(lambda: len(before) >= 100, timeout_s=20)
    ways = slow_ways(sender)
    names = [list(ways)[number % len(ways)] for number in range(SLOW)]
    limit_s = max(
        core.BODY_TIMEOUT_S, connections.FIRST_BYTE_S, server.HEAD_TIMEOUT_MS / 1000
    )
    with ExitStack() as stack:
        links = []
        for name in names:
            link = socket.create_connection(("127.0.0.1", alone.port))
            links.append(stack.enter_context(link))
            link.sendall(ways[name][0])
        said = dict.fromkeys(range(SLOW), b"")
        open_links = set(range(SLOW))
        with honest(alone, sender) as during:
            deadline = time.monotonic() + limit_s + 5
            turn = 0
            while open_links and time.monotonic() < deadline:
                for number in list(open_links):
                    drip(links[number], ways[names[number]][1][turn : turn + 1])
                    is_over, more = ended(links[number])
                    said[number] += more
                    if is_over:
                        open_links.discard(number)
                turn += 1
                time.sleep(0.25)
    assert not open_links, Counter(names[number] for number in open_links)
    for number, name in enumerate(names):
        if "body" in name or "chunk" in name:
            assert said[number].startswith(b"HTTP/1.1 408 "), name
            assert b"body_timeout" in said[number]
    assert said[names.index("a reply and no more")].startswith(b"HTTP/1.1 202 ")
    # Twice as long, and a moment for a machine that does other things meanwhile.
    assert p99(during) <= 2 * p99(before) + 0.1
    wait(lambda: held(alone) == 0, timeout_s=5)


def drip(link: socket.socket, data: bytes) -> None:
    try:
        link.send(data)
    except OSError:
        return


def held(running: Running) -> float:
    text = running.ask("/metrics", method="GET").body.decode()
    rows = [
        line.split()[-1]
        for line in text.splitlines()
        if line.startswith("gridhook_listener_held_bytes{")
    ]
    return max(map(float, rows))


def wait(fact: Callable[[], bool], *, timeout_s: float) -> None:
    pause = threading.Event()
    deadline = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < deadline
        pause.wait(0.05)


def test_more_silent_connections_than_places_do_not_keep_others_out(
    alone: Running, sender: Sender
) -> None:
    with ExitStack() as stack:
        for _ in range(BACKLOG + 100):
            link = socket.create_connection(("127.0.0.1", alone.port), timeout=20)
            stack.enter_context(link)
        assert alone.post(sender, callback()).status == 202
