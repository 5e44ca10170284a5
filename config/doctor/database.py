"""The database: reachable, durable, quick, and on time."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from statistics import median
from time import perf_counter
from typing import Any

import psycopg
from django.conf import settings
from psycopg import Connection, sql
from psycopg.conninfo import make_conninfo

from config.doctor.findings import Bounds, Finding, fail, ok
from ingest.listener.lanes import COMMIT_SETTINGS, DURABLE

CONNECT_TIMEOUT_S = 3
STATEMENT_TIMEOUT_S = 4
#: Commits whose median is taken.
_COMMITS = 9
_MS_PER_S = 1000
#: Milliseconds of a commit: the listener aims at a p99 of 50.
COMMIT_MS = Bounds(warn=50, fail=1000)
#: Seconds between the clocks: ids and leases are compared across machines, and
#: signatures are good for 300.
CLOCK_S = Bounds(warn=1, fail=60)


class Unreachable(Exception):
    """No connection to the database; the text says why."""


@contextmanager
def connection(role: str = "") -> Iterator[Connection[Any]]:
    """
    Open a connection of the doctor's own, in a role or in the URL's.

    Raises: Unreachable.
    """
    if not settings.DATABASE_URL:
        raise Unreachable(
            f"DATABASE_URL is not set, and no `up` runs in {settings.VAR}"
        )
    try:
        opened: Connection[Any] = psycopg.connect(
            make_conninfo(settings.DATABASE_URL, connect_timeout=CONNECT_TIMEOUT_S),
            autocommit=True,
            application_name="gridhook-doctor",
        )
    except (psycopg.Error, UnicodeError) as error:
        raise Unreachable(" ".join(str(error).split())) from error
    with opened:
        opened.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT_S}s'")
        if role:
            opened.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        yield opened


def one(lane: Connection[Any], query: str, *values: Any) -> Any:
    """Return the one value that a query has."""
    row = lane.execute(query.encode(), values or None).fetchone()
    return row[0] if row else None


def check_reachable() -> Finding:
    """Tell whether the database answers, and how quickly."""
    started = perf_counter()
    try:
        with connection() as lane:
            version = one(lane, "SHOW server_version")
    except Unreachable as error:
        return fail(
            "database.reachable",
            str(error),
            "Start `manage.py up` or that server, or correct DATABASE_URL.",
        )
    took_ms = (perf_counter() - started) * _MS_PER_S
    return ok("database.reachable", f"PostgreSQL {version}, {took_ms:.0f} ms")


def check_durable(lane: Connection[Any]) -> Finding:
    """Tell whether a commit outlives a crash."""
    commit, fsync, pages = one(lane, f"SELECT {COMMIT_SETTINGS}")
    seen = f"synchronous_commit={commit}, fsync={fsync}, full_page_writes={pages}"
    if commit in DURABLE and fsync == "on" and pages == "on":
        return ok("database.durable", seen)
    return fail(
        "database.durable",
        seen,
        "A crash of PostgreSQL could lose acknowledged callbacks: set all three to "
        "on, also where a role or the URL's options say otherwise.",
    )


def check_commit(lane: Connection[Any]) -> Finding:
    """Tell how long a commit takes, by some that write to the log and nowhere else."""
    times = []
    for _ in range(_COMMITS):
        started = perf_counter()
        lane.execute("SELECT pg_logical_emit_message(true, 'gridhook-doctor', '')")
        times.append((perf_counter() - started) * _MS_PER_S)
    return judge_commit(median(times))


def judge_commit(took_ms: float) -> Finding:
    """Judge the median of some commits against what devices wait for."""
    return COMMIT_MS.judge(
        "database.commit_latency",
        took_ms,
        f"median {took_ms:.1f} ms; a device is told 503 after "
        f"{settings.LISTENER_DEADLINE_S} s",
        "Give the write-ahead log a quicker disk, or look for what else writes to it.",
    )


def check_clock(lane: Connection[Any]) -> Finding:
    """Tell how far this machine's clock is from the database's."""
    before = datetime.now(UTC)
    theirs: datetime = one(lane, "SELECT clock_timestamp()")
    after = datetime.now(UTC)
    return judge_clock((before + (after - before) / 2 - theirs).total_seconds())


def judge_clock(offset_s: float) -> Finding:
    """Judge the offset of the clocks."""
    return CLOCK_S.judge(
        "database.clock",
        abs(offset_s),
        f"{offset_s:+.3f} s from the database",
        "Let NTP or chrony set both clocks.",
    )
