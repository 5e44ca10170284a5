"""
The pytest plugin that gives a test run its own PostgreSQL and Redis.

They are started before Django reads its settings, in a temporary folder, and ended
with the run. Tests speak to them as the product does: in the application's and the
pipeline's role, never as a superuser; each test makes tenants of its own, so no row is
ever cleaned up.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator
from pathlib import Path
from signal import SIGINT
from typing import Any

import pytest

from config.embedded import EmbeddedPostgres, EmbeddedRedis, make_keys
from config.supervisor import Service, StartFailed, Supervisor

ROOT = Path(__file__).resolve().parent.parent


class Servers:
    """The supervisor of a test run's servers, on a thread of its own."""

    def __init__(self, var: Path) -> None:
        self.var = var
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._supervisor: Supervisor | None = None
        self._output = (var / "servers.log").open("w")

    def start(self) -> None:
        """Start both servers, point the environment at them, and migrate."""
        make_keys(self.var)
        # What `up` collects there; without it, the static files' middleware warns.
        (self.var / "static").mkdir()
        postgres = EmbeddedPostgres(self.var, settings=("max_connections=200",))
        redis = EmbeddedRedis(self.var)
        postgres.prepare()
        self._thread.start()
        try:
            self._run(self._start(postgres, redis))
        except StartFailed:
            sys.stderr.write((self.var / "servers.log").read_text())
            raise
        os.environ.update(
            GRIDHOOK_VAR=str(self.var),
            DATABASE_URL=postgres.url(),
            BROKER_URL=redis.url,
            GRIDHOOK_CALLBACK_ALLOW_CIDRS="127.0.0.0/8,::1/128",
        )
        command = [
            sys.executable,
            "manage.py",
            "migrate",
            "--database",
            "owner",
            "-v0",
            "--skip-checks",
        ]
        subprocess.run(command, cwd=ROOT, check=True)

    async def _start(self, postgres: EmbeddedPostgres, redis: EmbeddedRedis) -> None:
        self._supervisor = Supervisor(
            state=self.var / "run" / "processes.json", output=self._output
        )
        await self._supervisor.start(
            Service(
                name="postgres",
                command=postgres.command(),
                is_ready=postgres.is_ready,
                stop_signal=SIGINT,
                user=postgres.user,
            )
        )
        await self._supervisor.start(
            Service(name="redis", command=redis.command(), is_ready=redis.is_ready)
        )

    def stop(self) -> None:
        """End both servers."""
        if self._supervisor is not None:
            self._run(self._supervisor.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        self._output.close()

    def _run(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(120)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config,
) -> Generator[None, object, object]:
    """Start the servers before anything reads Django's settings."""
    hands_out = early_config.known_args_namespace.numprocesses
    if hands_out and "PYTEST_XDIST_WORKER" not in os.environ:
        # Each of the processes that run the tests has servers of its own.
        return (yield)
    # Short, for Unix sockets live in it.
    directory = tempfile.TemporaryDirectory(
        prefix="gh-test-", ignore_cleanup_errors=True
    )
    servers = Servers(Path(directory.name))
    servers.start()
    _running.append((servers, directory))
    return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that no process is left with it at the end."""
    items.sort(
        key=lambda item: not any(map(item.get_closest_marker, ("processes", "browser")))
    )


_running: list[tuple[Servers, tempfile.TemporaryDirectory[str]]] = []


def pytest_unconfigure() -> None:
    """End the servers with the run."""
    while _running:
        servers, directory = _running.pop()
        servers.stop()
        directory.cleanup()
