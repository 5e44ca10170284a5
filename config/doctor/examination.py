"""
The whole examination: every check, side by side, within bounded time.

Each subject runs on a thread of its own, so that a server that stands still holds up
neither the others nor the report.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any

import psycopg
from django.conf import settings
from psycopg import Connection

from config.celery import app
from config.doctor import (
    broker,
    catalogue,
    database,
    listeners,
    machine,
    trails,
    work,
)
from config.doctor.findings import Finding, Level, fail, reason

#: Seconds after which a subject that has not answered is reported so.
PATIENCE_S = 8.0
Subject = Callable[[], Sequence[Finding]]
DatabaseCheck = Callable[[Connection[Any]], Finding]

#: As the URL's own role, which sees the catalogue and the server's settings.
_AS_OWNER: tuple[tuple[str, DatabaseCheck], ...] = (
    ("database.migrations", catalogue.check_migrations),
    ("database.roles", catalogue.check_roles),
    ("database.row_security", catalogue.check_walls),
    ("disk.data", machine.check_data_disk),
)
#: As the role of listener and workers.
_AS_PIPELINE: tuple[tuple[str, DatabaseCheck], ...] = (
    ("database.durable", database.check_durable),
    ("database.commit_latency", database.check_commit),
    ("database.clock", database.check_clock),
    ("keys.unseal", machine.check_secrets),
    ("work.sweeps", work.check_sweeps),
    ("work.callbacks", work.check_callbacks),
    ("work.messages", work.check_messages),
    ("work.dead", work.check_dead),
    ("work.mails", work.check_mails),
)


def examine(patience_s: float = PATIENCE_S) -> list[Finding]:
    """Return everything that was found, by subject."""
    subjects: dict[str, Subject] = {
        "settings": _settings,
        "database": _database,
        "audit": trails.check_trails,
        "broker": _broker,
        "listener": listeners.check_listener,
        "console": lambda: [listeners.check_console()],
        "machine": _machine,
    }
    answers: queue.SimpleQueue[tuple[str, Sequence[Finding]]] = queue.SimpleQueue()
    for name, subject in subjects.items():
        # Daemons: one that hangs does not keep the command from ending.
        threading.Thread(
            target=lambda name=name, subject=subject: answers.put(
                (name, _guarded(name, subject))
            ),
            daemon=True,
        ).start()
    found = _collect(answers, len(subjects), patience_s)
    return [
        finding
        for name in subjects
        for finding in found.get(name, [_unanswered(name, patience_s)])
    ]


def is_healthy(findings: Iterable[Finding]) -> bool:
    """Tell whether nothing failed."""
    return all(finding.level != Level.FAIL for finding in findings)


def _collect(
    answers: "queue.SimpleQueue[tuple[str, Sequence[Finding]]]",
    count: int,
    patience_s: float,
) -> dict[str, Sequence[Finding]]:
    found: dict[str, Sequence[Finding]] = {}
    end_s = monotonic() + patience_s
    while len(found) < count:
        try:
            name, findings = answers.get(timeout=max(0.0, end_s - monotonic()))
        except queue.Empty:
            return found
        found[name] = findings
    return found


def _unanswered(name: str, patience_s: float) -> Finding:
    return fail(
        f"{name}.unanswered",
        f"no answer within {patience_s:.0f} s",
        "It stands still, or the network to it does: look at the process itself.",
    )


def _guarded(name: str, subject: Subject) -> Sequence[Finding]:
    """Make of an error that nobody thought of a finding, never a traceback."""
    try:
        return subject()
    except Exception as error:  # noqa: BLE001 (whatever it is, the report has it)
        return [
            fail(
                f"{name}.unexpected",
                f"{type(error).__name__}: {reason(error)}",
                "Report it, with this line.",
            )
        ]


def _settings() -> list[Finding]:
    return [*machine.check_configuration(), *machine.check_keys()]


def _machine() -> list[Finding]:
    return [
        listeners.check_certificate(),
        machine.check_backlog(),
        machine.check_files(),
        machine.check_own_disk(),
    ]


def _broker() -> list[Finding]:
    found = broker.check_broker()
    if is_healthy(found):
        found.append(broker.check_workers(app))
    return found


def _database() -> list[Finding]:
    reached = database.check_reachable()
    if reached.level == Level.FAIL:
        return [reached]
    found = [reached]
    with database.connection() as lane:
        found += [_asked(code, check, lane) for code, check in _AS_OWNER]
    try:
        with database.connection(settings.PIPELINE_ROLE) as lane:
            found += [_asked(code, check, lane) for code, check in _AS_PIPELINE]
    except psycopg.Error as error:
        found.append(
            fail(
                "database.pipeline",
                reason(error),
                "Run the migrations, and let the URL's user be a member of the role.",
            )
        )
    return found


def _asked(code: str, check: DatabaseCheck, lane: Connection[Any]) -> Finding:
    """Ask the database; what it refuses is the finding."""
    try:
        return check(lane)
    except psycopg.Error as error:
        return fail(code, reason(error), "See `database.migrations` and the roles.")
