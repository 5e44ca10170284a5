"""
A whole platform of a test's own: `manage.py up` in a temporary folder, on free ports.

Everything in it is real: its Postgres and Redis, listener, console, workers and beat,
under the supervisor that starts again what is killed here.
"""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import psycopg
import redis
from psycopg.rows import TupleRow

ROOT = Path(__file__).resolve().parent.parent
#: What the platform of a test must not inherit from the run's own servers.
_NOT_INHERITED = ("DATABASE_URL", "BROKER_URL", "GRIDHOOK_", "DJANGO_SETTINGS_MODULE")
START_TIMEOUT_S = 90.0
#: Below what systems give to outgoing connections by themselves.
_PORTS = (12_000, 32_000)
_CREATED = 201


class PlatformFailed(Exception):
    """The platform did what it may not; the text has its last lines."""


@dataclass(frozen=True)
class Source:
    """A source of a fresh tenant, and the key that asks about it."""

    tenant: str
    api_key: str
    public_id: str
    url: str
    secret: str


class Platform:
    """One `manage.py up`, its addresses and its processes."""

    def __init__(
        self,
        *,
        workers: int = 1,
        listeners: int = 1,
        environment: Mapping[str, str] | None = None,
        launcher: Sequence[str] = (),
    ) -> None:
        # Short, for Unix sockets live in it.
        self._directory = tempfile.TemporaryDirectory(
            prefix="gh-up-", ignore_cleanup_errors=True
        )
        self.var = Path(self._directory.name)
        self.listener_port, self.console_port = free_ports(2)
        self._counts = ["--workers", str(workers), "--listeners", str(listeners)]
        #: What starts it, with its folder in place of `{var}`.
        self._launcher = [part.replace("{var}", str(self.var)) for part in launcher]
        self._up: subprocess.Popen[bytes] | None = None
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(_NOT_INHERITED)},
            "GRIDHOOK_VAR": str(self.var),
            "GRIDHOOK_LISTENER_PORT": str(self.listener_port),
            "GRIDHOOK_CONSOLE_PORT": str(self.console_port),
            "GRIDHOOK_CALLBACK_ALLOW_CIDRS": "127.0.0.0/8",
            **(environment or {}),
        }

    @property
    def log(self) -> str:
        """What its processes have said."""
        return (self.var / "up.log").read_text(errors="replace")

    def start(self) -> None:
        """
        Start it and wait until devices and people are answered.

        Raises: PlatformFailed: it ended, or was not ready in time.
        """
        with (self.var / "up.log").open("ab") as output:
            self._up = subprocess.Popen(
                [*self._launcher, sys.executable, "manage.py", "up", *self._counts],
                cwd=ROOT,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while "Gridhook is running" not in self.log:
            if self._up.poll() is not None or time.monotonic() > deadline_s:
                raise PlatformFailed(self.log[-4000:])
            time.sleep(0.1)

    def stop(self) -> None:
        """End it and remove its folder."""
        if self._up is not None:
            self._up.send_signal(signal.SIGINT)
            try:
                self._up.wait(60)
            finally:
                self._up.kill()
                self._up.wait()
        self._directory.cleanup()

    def pids(self) -> dict[str, int]:
        """Return the process id of each service that runs."""
        record = json.loads((self.var / "run" / "processes.json").read_text())
        return {name: pid for name, (pid, _) in record.items()}

    def kill(self, name: str) -> None:
        """Kill a service with all its children, and wait until they are gone."""
        kill_tree(self.pids()[name])

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a management command beside it."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    @property
    def database_url(self) -> str:
        """The owner's URL of its Postgres."""
        servers = json.loads((self.var / "run" / "servers.json").read_text())
        return str(servers["database_url"])

    @contextmanager
    def database(self) -> Generator[psycopg.Connection[TupleRow]]:
        """Open the database as its owner, who sees every tenant."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            yield connection

    def rows(self, query: str, *parameters: Any) -> list[TupleRow]:
        """Return what the owner reads."""
        with self.database() as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    @property
    def broker_path(self) -> Path:
        """The socket of its Redis."""
        servers = json.loads((self.var / "run" / "servers.json").read_text())
        return Path(servers["broker_url"].removeprefix("redis+socket://"))

    def broker(self) -> "redis.Redis":
        """Return a client of its Redis."""
        return redis.Redis(unix_socket_path=str(self.broker_path), socket_timeout=5)

    def api(
        self, key: str, method: str, path: str, body: Any = None
    ) -> tuple[int, dict[str, Any]]:
        """Ask the API; return status and reply."""
        page = HTTPConnection("127.0.0.1", self.console_port, timeout=30)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        sent = None if body is None else json.dumps(body)
        with contextlib.closing(page):
            page.request(method, f"/api/v1{path}", sent, headers)
            reply = page.getresponse()
            return reply.status, json.loads(reply.read() or b"{}")

    def new_source(self, scheme: str = "hub", *, of: Source | None = None) -> Source:
        """
        Return a source of a tenant that nobody else knows, or of another's tenant.

        Raises: PlatformFailed: a command or the API refused.
        """
        tenant, key = (of.tenant, of.api_key) if of else self._new_tenant()
        wanted = {"name": f"meters {uuid4().hex[:8]}", "scheme": scheme}
        status, reply = self.api(key, "POST", "/sources/", wanted)
        if status != _CREATED:
            raise PlatformFailed(f"{status}: {reply}")
        return Source(tenant, key, reply["id"], reply["url"], reply["secret"])

    def _new_tenant(self) -> tuple[str, str]:
        """Return the slug and the key of a new tenant."""
        slug = f"t{uuid4().hex[:12]}"
        done = self.run(
            "create_tenant", slug, "--timezone", "Europe/Brussels", "--currency", "EUR",
            "--admin-email", f"admin@{slug}.example", "--json",
        )  # fmt: skip
        if done.returncode != 0:
            raise PlatformFailed(done.stderr)
        return slug, json.loads(done.stdout)["api_key"]


@contextmanager
def running(**options: Any) -> Generator[Platform]:
    """Run a platform for the length of the block."""
    platform = Platform(**options)
    try:
        platform.start()
        yield platform
    finally:
        platform.stop()


def tree(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def kill_tree(pid: int) -> None:
    """Kill a process and its descendants, and wait until they are gone."""
    processes = tree(pid)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    wait_until(lambda: not any(map(_lives, processes)), timeout_s=10, pause_s=0.01)


def _lives(process: psutil.Process) -> bool:
    """Tell whether a process runs; one that nobody collects has ended all the same."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(
    fact: Callable[[], bool], *, timeout_s: float, pause_s: float = 0.2
) -> bool:
    """Wait until something is so; False: it was not in time."""
    deadline_s = time.monotonic() + timeout_s
    while not fact():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(pause_s)
    return True


def listens(port: int) -> bool:
    """Tell whether a local port takes connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count: int) -> list[int]:
    """
    Return ports that nobody listens on.

    Below the range that outgoing connections take theirs from: a client that knocks at
    a dead server's port there may be given that very port, and meet itself.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(*_PORTS)  # noqa: S311 (no secret)
        if port not in found and _is_free(port):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
