"""
`python -m tests.chaos.patched NAME[,NAME…] ARGUMENT…`: a worker with something changed.

What a row cannot cause from outside is changed here, in a process of the test's own:
slow or poisonous parsing, an impatient broker; and for the negative controls the very
rules that a row is there to guard. With `deliver` as its only argument it delivers once
and ends; with `respawn` a child delivers until it is killed, and then another; other
arguments go to Celery's worker.
"""

import os
import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import django
import psycopg

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.conf import settings  # noqa: E402 (Django's settings come first)

from config.celery import app  # noqa: E402
from ingest.processing import batch, claims, parsing, trials  # noqa: E402
from subscriptions.services.delivering import claims as due  # noqa: E402
from subscriptions.services.delivering import (  # noqa: E402
    pacing,
    recording,
    sending,
)

SLOW_S = 4.0
#: The longest exchange of a hasty deliverer.
HASTY_S = 1
#: Between the turns of a child that delivers.
_PAUSE_S = 0.02
#: When a worker that loops ends itself.
LONGEST_S = 5.0
_ROOM_BYTES = 256 * 1024 * 1024
_LOCK = " FOR UPDATE SKIP LOCKED"
_FENCE = "AND d.claim_id = r.claim_id"


def impatient() -> None:
    """Have the broker give a message again that is not done in two seconds."""
    app.conf.task_acks_late = True
    app.conf.broker_transport_options = {
        **app.conf.broker_transport_options,
        "visibility_timeout": 2,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    }


def counted() -> None:
    """Say which message each run of the processing task has."""
    app.loader.import_default_modules()
    task = app.tasks["ingest.process"]
    run = task.run

    def counting(**kwargs: Any) -> Any:
        sys.stderr.write(f"RUN {task.request.id}\n")
        return run(**kwargs)

    setattr(task, "run", counting)  # noqa: B010 (a method in its eyes)


def slow() -> None:
    """Take long over a batch, inside its transaction."""
    parse = parsing.parse_body

    def parse_slowly(*args: Any, **kwargs: Any) -> Any:
        time.sleep(SLOW_S)
        return parse(*args, **kwargs)

    _replace(batch, "parse_body", parse_slowly)


def poison() -> None:
    """Fail over certain bodies in every way there is."""
    parse = parsing.parse_body

    def parse_poison(content_type: str, body: bytes | None, **kwargs: Any) -> Any:
        for name, fail in POISONS.items():
            if f"poison/{name}".encode() in (body or b""):
                fail()
        return parse(content_type, body, **kwargs)

    _replace(batch, "parse_body", parse_poison)
    _replace(trials, "LONGEST_S", LONGEST_S)


def _exit() -> None:
    os._exit(3)


def _exhaust() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    used = pages * resource.getpagesize()
    usual = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + _ROOM_BYTES, usual[1]))
    try:
        bytearray(4 * _ROOM_BYTES)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, usual)


def _recurse() -> None:
    _recurse()


def _loop() -> None:
    while True:
        time.sleep(0)


POISONS: dict[str, Callable[[], None]] = {
    "exit": _exit,
    "memory": _exhaust,
    "recursion": _recurse,
    "loop": _loop,
}


def unlocked() -> None:
    """Take callbacks without holding them."""
    claims._PICK = claims._PICK.replace(_LOCK, "")


def popped() -> None:
    """Take callbacks off the queue before they are done."""
    claim = claims.claim

    def pop(lane: Any, limit: int) -> Any:
        taken = claim(lane, limit)
        claims.release(lane, taken)
        lane.commit()
        return taken

    _replace(batch, "claim", pop)


def stubborn() -> None:
    """Never set a callback aside."""
    _replace(batch, "MOST_LEFT", 1_000_000)


def unfenced() -> None:
    """Record whatever comes, whoever has the lease by now."""
    _rewrite(recording, "_update_deliveries", lambda query: query.replace(_FENCE, ""))


def own_clock() -> None:
    """Judge leases by the process's own clock."""

    def mine(query: str) -> str:
        now = f"'{datetime.now(UTC).isoformat()}'::timestamptz"
        return query.replace("clock_timestamp()", now).replace("now()", now)

    _rewrite(due, "_take", mine)
    _rewrite(due, "look", mine)


def hasty() -> None:
    """Wait a second for an answer, not fifteen."""
    settings.DELIVERY_TIMEOUT_S = HASTY_S


def unfair() -> None:
    """Let one that never answers have every place, and the others wait."""
    _replace(pacing, "SLOTS", 8)
    _replace(pacing, "SLOTS_IN_ALL", 8)
    _replace(pacing, "SLOW_SLOTS", 8)
    _replace(pacing, "FAILING_LIMIT", 8)


def forgetful() -> None:
    """Take a message for delivered as soon as it is claimed."""
    wrong = "SET status = 'delivered', finished_at = now(), claim_id"
    _rewrite(due, "_take", lambda query: query.replace("SET claim_id", wrong))


def respawn(work: Callable[[], object]) -> None:
    """Have a child work until it is killed, and then another."""
    while True:
        child = os.fork()
        if not child:
            break
        os.waitpid(child, 0)
    while True:
        try:
            work()
        except psycopg.OperationalError as error:
            # The database is away: the next turn asks again.
            sys.stderr.write(f"{error}\n")
        time.sleep(_PAUSE_S)


def _replace(module: ModuleType, name: str, value: object) -> None:
    """Put something else under a name that the module uses."""
    if not hasattr(module, name):
        raise AttributeError(f"{module.__name__} has no {name}")
    setattr(module, name, value)


def _rewrite(module: ModuleType, name: str, change: Callable[[str], str]) -> None:
    """Have a function's statements changed on their way to the database."""
    original = getattr(module, name)

    class Changed:
        def __init__(self, cursor: Any) -> None:
            self._cursor = cursor

        def execute(self, query: str, parameters: Any = None) -> Any:
            changed = change(query)
            return self._cursor.execute(changed, parameters)

        def __getattr__(self, attribute: str) -> Any:
            return getattr(self._cursor, attribute)

    _replace(
        module,
        name,
        lambda cursor, *args, **kwargs: original(Changed(cursor), *args, **kwargs),
    )


CHANGES: dict[str, Callable[[], None]] = {
    one.__name__: one
    for one in (
        impatient,
        counted,
        slow,
        poison,
        unlocked,
        popped,
        stubborn,
        unfenced,
        own_clock,
        hasty,
        unfair,
        forgetful,
    )
}


def main(names: str, *arguments: str) -> None:
    """Change what was named, and work."""
    for name in filter(None, names.split(",")):
        CHANGES[name]()
    if arguments == ("deliver",):
        sending.deliver()
    elif arguments == ("respawn",):
        respawn(sending.deliver)
    else:
        app.worker_main(["--quiet", "worker", *arguments])


if __name__ == "__main__":
    main(*sys.argv[1:])
