"""A listener whose Postgres or Redis stands still, dies and comes back."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg
import pytest

from config.embedded import EmbeddedPostgres, EmbeddedRedis, make_keys
from ingest.models import Source
from ingest.tests.listening import (
    ROOT,
    Running,
    Sender,
    callback,
    running_listener,
)
from tenants.identifiers import parse_public_id

pytestmark = pytest.mark.processes

NEW_SOURCE = """
import json
import django
django.setup()
from ingest.services.sources import create_source
from tenants.actors import operator
from tenants.database import acting_for
from tenants.services import create_tenant
tenant = create_tenant(slug="frozen", timezone="UTC", currency="EUR",
                       admin_email="a@frozen.example").tenant
with acting_for(tenant):
    source, secret = create_source(
        tenant=tenant, actor=operator(tenant), name="x", scheme="hub")
print(json.dumps([source.public_id, secret]))
"""


class Postgres:
    """A server of this test's own, which can be stopped, killed and started."""

    def __init__(self, var: Path) -> None:
        make_keys(var)
        self.server = EmbeddedPostgres(var)
        self.server.prepare()
        self.redis = EmbeddedRedis(var)
        self.environment = {
            "GRIDHOOK_VAR": str(var),
            "DATABASE_URL": self.server.url(),
            "BROKER_URL": self.redis.url,
            "DJANGO_SETTINGS_MODULE": "config.settings",
        }
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.server.command(),
            user=self.server.user,
            group=self.server.user,
            extra_groups=[] if self.server.user else None,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self.server.is_ready)

    def signal(self, number: signal.Signals) -> None:
        """Send every process of the server a signal, the postmaster first."""
        postmaster = psutil.Process(self.process.pid)
        for process in (postmaster, *postmaster.children(recursive=True)):
            process.send_signal(number)

    def kill(self) -> None:
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.signal(signal.SIGKILL)
        self.process.wait(10)
        psutil.wait_procs(children, timeout=10)

    def python(self, *arguments: str) -> bytes:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout

    def stored(self) -> set[str]:
        with psycopg.connect(self.server.url()) as owner:
            owner.execute("SET row_security = off")
            rows = owner.execute("SELECT transaction_id FROM ingest_callback")
            return {name for (name,) in rows.fetchall()}


@pytest.fixture(scope="module")
def postgres() -> Generator[Postgres, None, None]:
    with tempfile.TemporaryDirectory(
        prefix="gh-frozen-", ignore_cleanup_errors=True
    ) as var:
        server = Postgres(Path(var))
        try:
            server.python("manage.py", "migrate", "--database", "owner", "-v0")
            yield server
        finally:
            server.signal(signal.SIGCONT)
            server.process.send_signal(signal.SIGINT)
            server.process.wait(30)


@pytest.fixture(scope="module")
def redis(postgres: Postgres) -> Generator[psutil.Process, None, None]:
    server = subprocess.Popen(
        postgres.redis.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_until(postgres.redis.is_ready)
    try:
        yield psutil.Process(server.pid)
    finally:
        server.send_signal(signal.SIGCONT)
        server.terminate()
        server.wait(10)


@pytest.fixture(scope="module")
def sender(postgres: Postgres) -> Sender:
    public_id, secret = json.loads(postgres.python("-c", NEW_SOURCE))
    return Sender(Source(pk=parse_public_id("src", public_id)), secret)


@pytest.fixture(scope="module")
def listener(
    postgres: Postgres,
    redis: psutil.Process,
    sender: Sender,
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[Running, None, None]:
    assert redis.is_running()
    with running_listener(
        tmp_path_factory.mktemp("frozen"), environment=postgres.environment
    ) as running:
        yield running


def wait_until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    pause = threading.Event()
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.05)


@contextmanager
def frozen(server: Postgres | psutil.Process) -> Generator[None, None, None]:
    send = server.signal if isinstance(server, Postgres) else server.send_signal
    send(signal.SIGSTOP)
    try:
        yield
    finally:
        send(signal.SIGCONT)


@dataclass(frozen=True)
class Pace:
    """A second of posts: how many were acknowledged, and how all were answered."""

    acknowledged: int
    statuses: set[int]
    longest_s: float


def paced(listener: Running, sender: Sender, *, clients: int = 6) -> Pace:
    until = time.monotonic() + 1
    answers: list[tuple[int, float]] = []

    def send() -> None:
        while time.monotonic() < until:
            answers.append(timed(listener, sender, uuid4().hex)[1:])

    with ThreadPoolExecutor(clients) as pool:
        for sending in [pool.submit(send) for _ in range(clients)]:
            sending.result()
    return Pace(
        sum(status == 202 for status, _ in answers),
        {status for status, _ in answers},
        max(seconds for _, seconds in answers),
    )


def held(listener: Running) -> tuple[int, int]:
    """The worker's threads and connections."""
    (worker,) = psutil.Process(listener.process.pid).children()
    return worker.num_threads(), len(worker.net_connections("all"))


def timed(listener: Running, sender: Sender, name: str) -> tuple[str, int, float]:
    started_at = time.monotonic()
    answer = listener.post(sender, callback(name))
    assert ("retry-after" in answer.headers) == (answer.status == 503)
    return name, answer.status, time.monotonic() - started_at


def is_ready(listener: Running) -> bool:
    return listener.ask("/readyz", method="GET").status == 200


@pytest.mark.parametrize("round_", ["first", "second"])
def test_a_frozen_postgres_costs_an_answer_in_time_and_nothing_else(
    listener: Running, sender: Sender, postgres: Postgres, round_: str
) -> None:
    wait_until(lambda: is_ready(listener))
    pace = paced(listener, sender).acknowledged
    threads, connections = held(listener)
    names = [f"{round_}/{n}" for n in range(20)]
    with frozen(postgres), ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda name: timed(listener, sender, name), names))
        for probe, status in (("/healthz", 200), ("/readyz", 503)):
            started_at = time.monotonic()
            assert listener.ask(probe, method="GET").status == status
            assert time.monotonic() - started_at < 1
    thawed_at = time.monotonic()
    assert {status for _, status, _ in answers} == {503}
    assert max(seconds for _, _, seconds in answers) < 5
    wait_until(lambda: is_ready(listener), timeout_s=10)
    # Other work on the machine takes its share of a second, and then another.
    wait_until(
        lambda: paced(listener, sender).acknowledged > 0.7 * pace,
        timeout_s=10 - (time.monotonic() - thawed_at),
    )
    # A lane may have been away when they were counted, and some pools keep a thread
    # that they once needed; neither grows with the twenty that waited.
    wait_until(lambda: held(listener)[1] <= connections + 3)
    assert held(listener)[0] <= threads + 3
    for name in names:
        assert timed(listener, sender, name)[1] in {200, 202}
    assert set(names) <= postgres.stored()


def test_a_frozen_redis_costs_nothing(
    listener: Running, sender: Sender, redis: psutil.Process
) -> None:
    wait_until(lambda: is_ready(listener))
    pace = paced(listener, sender).acknowledged
    seconds: list[Pace] = []

    def is_as_quick() -> bool:
        seconds.append(paced(listener, sender))
        return seconds[-1].acknowledged > 0.7 * pace

    with frozen(redis):
        assert is_ready(listener)
        # Other work on the machine takes its share of a second, and then another.
        wait_until(is_as_quick)
    assert set().union(*(second.statuses for second in seconds)) == {202}
    assert max(second.longest_s for second in seconds) < 1


def test_a_killed_postgres_loses_nothing_that_was_acknowledged(
    listener: Running, sender: Sender, postgres: Postgres
) -> None:
    wait_until(lambda: is_ready(listener))
    answers: list[tuple[str, int, float]] = []
    is_over = threading.Event()

    def send(worker: int) -> None:
        number = 0
        while not is_over.is_set():
            answers.append(timed(listener, sender, f"kill/{worker}/{number}"))
            number += 1

    with ThreadPoolExecutor(8) as pool:
        for worker in range(8):
            pool.submit(send, worker)
        for crash in range(2):
            wait_until(
                lambda goal=(crash + 1) * 200: (  # type: ignore[misc]  # bound on purpose
                    sum(status == 202 for _, status, _ in answers) > goal
                )
            )
            postgres.kill()
            seen = len(answers)
            wait_until(
                lambda seen=seen: any(  # type: ignore[misc]  # bound on purpose
                    status == 503 for _, status, _ in answers[seen:]
                )
            )
            postgres.start()
            wait_until(lambda: is_ready(listener))
        before = len(answers)
        wait_until(lambda: any(status == 202 for _, status, _ in answers[before:]))
        is_over.set()
    acknowledged = {name for name, status, _ in answers if status in {200, 202}}
    assert {status for _, status, _ in answers} == {202, 503}
    assert acknowledged <= postgres.stored()
    assert max(seconds for _, _, seconds in answers) < 5
