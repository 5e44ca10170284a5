"""The runs: baseline, accept only, end to end as fast as it goes, and sustained."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.conninfo import make_conninfo

from bench import measure
from tests.processes import (
    ROOT,
    Platform,
    Source,
    free_ports,
    kill_tree,
    listens,
    tree,
    wait_until,
)

#: Seconds in which a backlog must be worked off after a run.
DRAIN_TIMEOUT_S = 300.0
#: A backlog worth less than this much of the rate counts as none.
_FLAT_S = 2.0


@dataclass
class Bench:
    """A running platform, a source, and how much was sent so far."""

    platform: Platform
    source: Source
    connections: int
    _first: int = field(default=0)

    def load(self, *, seconds: float, **plan: Any) -> dict[str, Any]:
        """Run the load generator in a process of its own; `plan`: see bench.load."""
        full = {
            "url": self.source.url,
            "secret": self.source.secret,
            "run": f"bench-{secrets.token_hex(4)}",
            "seconds": seconds,
            "connections": self.connections,
            "first": self._first,
            **plan,
        }
        result = generate("bench.load", full)
        # The next run begins with an hour that no device has reported yet.
        self._first += result["sent"] // 1000 * 1000 + 1000
        return result


def generate(module: str, plan: dict[str, Any]) -> dict[str, Any]:
    """Run a load generator's plan; return its result."""
    done = subprocess.run(  # noqa: S603 (own module)
        [sys.executable, "-m", module, json.dumps(plan)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=plan["seconds"] + 60,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def baseline(bench: Bench, seconds: float) -> dict[str, Any]:
    """Measure the same accept written the usual way, on the same Postgres."""
    with _baseline_server(bench.platform) as (pid, url, secret):
        bench.load(seconds=1.0, url=url, secret=secret)
        kinds = measure.Kinds(
            {
                "listener": [pid],
                "postgres": [bench.platform.pids()["postgres"]],
            }
        )
        before = kinds.read()
        result = bench.load(seconds=seconds, url=url, secret=secret)
        return with_costs(result, before, kinds.read())


def accept_only(bench: Bench, seconds: float, **plan: Any) -> dict[str, Any]:
    """Measure the listener with its workers frozen, then the workers alone."""
    platform = bench.platform
    kinds = measure.kinds(platform.pids())
    workers = kinds.pids["worker"]
    with frozen(workers):
        before = kinds.read()
        result = bench.load(seconds=seconds, **plan)
        result = with_costs(result, before, kinds.read())
    accepted = result["replies"].get("202", 0)
    before = kinds.read()
    url = platform.database_url
    with psycopg.connect(url, autocommit=True) as connection:
        wait_until(lambda: _waiting(connection) < accepted, timeout_s=30, pause_s=0.02)
    took_s = measure.drain_s(url, timeout_s=DRAIN_TIMEOUT_S)
    worked = measure.spent_us(before, kinds.read(), accepted)
    result["backlog_worked_off_per_second"] = round(accepted / max(took_s, 0.001), 1)
    result["backlog_cpu_us"] = {k: worked[k] for k in ("worker", "postgres")}
    return result


def end_to_end(bench: Bench, seconds: float, **plan: Any) -> dict[str, Any]:
    """Measure accepting while the workers turn what came into readings and usage."""
    platform = bench.platform
    kinds = measure.kinds(platform.pids())
    before = kinds.read()
    with measure.Backlog(platform.database_url) as backlog:
        started_s = time.monotonic()
        result = bench.load(seconds=seconds, **plan)
        behind = backlog.samples[-1] if backlog.samples else 0
        during = list(backlog.samples)
        measure.drain_s(platform.database_url, timeout_s=DRAIN_TIMEOUT_S)
        total_s = time.monotonic() - started_s
    accepted = result["replies"].get("202", 0)
    result = with_costs(result, before, kinds.read())
    result["processed_per_second"] = round(accepted / max(total_s, 0.001), 1)
    if behind <= result["per_second"] * _FLAT_S:
        done = max(accepted - behind, 0)
        result["processed_per_second"] = round(done / result["seconds"], 1)
    result["drained_after_s"] = round(total_s, 2)
    result["backlog"] = during
    result["backlog_is_flat"] = _is_flat(during, result["per_second"])
    return result


def verify(bench: Bench) -> dict[str, int]:
    """Return what the ledger and the readings say about all runs together."""
    rows = bench.platform.rows(
        """
        SELECT count(*), count(*) FILTER (WHERE c.state = 1), sum(c.stored),
            (SELECT count(*) FROM ingest_reading r WHERE r.tenant_id = t.id)
        FROM ingest_callback c JOIN tenants_tenant t ON t.id = c.tenant_id
        WHERE t.slug = %s GROUP BY t.id
        """,
        bench.source.tenant,
    )
    names = ("callbacks", "processed", "readings_counted", "readings_stored")
    return dict(zip(names, map(int, rows[0]), strict=True))


def _is_flat(samples: Sequence[int], per_second: float) -> bool:
    """Tell whether the last third of a run waited no longer than a moment's work."""
    last = samples[len(samples) * 2 // 3 :]
    return bool(last) and sum(last) / len(last) <= per_second * _FLAT_S


def with_costs(
    result: dict[str, Any], before: dict[str, float], after: dict[str, float]
) -> dict[str, Any]:
    """Add the CPU time by kind, in microseconds a callback."""
    count = result["replies"].get("202", 0)
    costs = measure.spent_us(before, after, count)
    costs["load"] = round(result["cpu_s"] / max(count, 1) * 1e6, 1)
    return {**result, "cpu_us": {**costs, "all": round(sum(costs.values()), 1)}}


def _waiting(connection: psycopg.Connection[tuple[Any, ...]]) -> int:
    row = connection.execute("SELECT count(*) FROM ingest_pendingcallback").fetchone()
    return int(row[0]) if row else 0


@contextmanager
def frozen(pids: Sequence[int]) -> Generator[None]:
    """Freeze processes and their descendants for the length of the block."""
    processes = [process for pid in pids for process in tree(pid)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


@contextmanager
def _baseline_server(platform: Platform) -> Generator[tuple[int, str, str]]:
    with platform.database() as owner:
        owner.execute("CREATE DATABASE baseline")
    url = make_conninfo(platform.database_url, dbname="baseline")
    environment = {
        **os.environ,
        "BASELINE_DATABASE_URL": url,
        "DJANGO_SETTINGS_MODULE": "bench.baseline.settings",
    }
    migrate = [sys.executable, "-m", "django", "migrate", "--run-syncdb", "-v0"]
    subprocess.run(migrate, cwd=ROOT, env=environment, check=True)  # noqa: S603
    source_id, secret = uuid4(), secrets.token_hex(16)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO baseline_source (id, tenant_id, secret) VALUES (%s, 1, %s)",
            (source_id, secret),
        )
    (port,) = free_ports(1)
    server = subprocess.Popen(  # noqa: S603 (the comparison)
        [
            sys.executable, "-m", "gunicorn", "--workers", "3", "--threads", "4",
            "--bind", f"127.0.0.1:{port}", "--log-level", "warning",
            "bench.baseline.wsgi",
        ],
        cwd=ROOT,
        env=environment,
    )  # fmt: skip
    try:
        page = f"http://127.0.0.1:{port}/v1/callbacks/{source_id}"
        if not wait_until(lambda: listens(port), timeout_s=30):
            raise TimeoutError("The baseline did not start.")
        yield server.pid, page, secret
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            kill_tree(server.pid)
