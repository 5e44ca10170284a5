"""A listener whose Postgres stands still, dies and comes back."""

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
from pathlib import Path

import psutil
import psycopg
import pytest

from config.embedded import EmbeddedPostgres, make_keys
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
        self.environment = {
            "GRIDHOOK_VAR": str(var),
            "DATABASE_URL": self.server.url(),
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
def sender(postgres: Postgres) -> Sender:
    public_id, secret = json.loads(postgres.python("-c", NEW_SOURCE))
    return Sender(Source(pk=parse_public_id("src", public_id)), secret)


@pytest.fixture(scope="module")
def listener(
    postgres: Postgres, sender: Sender, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Running, None, None]:
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
def frozen(postgres: Postgres) -> Generator[None, None, None]:
    postgres.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        postgres.signal(signal.SIGCONT)


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
    assert timed(listener, sender, f"{round_}/before")[1] == 202
    names = [f"{round_}/{n}" for n in range(20)]
    with frozen(postgres), ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda name: timed(listener, sender, name), names))
        started_at = time.monotonic()
        assert listener.ask("/healthz", method="GET").status == 200
        assert time.monotonic() - started_at < 1
        assert not is_ready(listener)
    assert {status for _, status, _ in answers} == {503}
    assert max(seconds for _, _, seconds in answers) < 5
    wait_until(lambda: is_ready(listener))
    for name in names:
        assert timed(listener, sender, name)[1] in {200, 202}
    assert set(names) <= postgres.stored()


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
