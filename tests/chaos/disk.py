"""A disk that is full: R05."""

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.site import Site, is_ready
from tests.chaos.staging import Load, Report, Stage, loaded
from tests.oracle import entries
from tests.processes import wait_until

_UNAVAILABLE = 503
#: Until the database notices: what it has preallocated is used up first.
NOTICED_S = 60.0
#: After room was made.
RECOVERY_S = 30.0


def full(stage: Stage) -> Report:
    """Fill the database's disk under load, and make room again."""
    report = Report()
    site = stage.site
    pids = site.pid("listener"), site.second.pid, site.pid("ingest-1")
    with loaded(stage, report) as load:
        with filled(site):
            wait_until(lambda: _is_refused(load), timeout_s=NOTICED_S)
            full_s = time.monotonic()
            time.sleep(stage.seconds)
        load.strike(lambda: None)
        wait_until(lambda: all(map(is_ready, site.ports)), timeout_s=RECOVERY_S)
        load.await_recovery(RECOVERY_S)
    lines = [one for one in entries(load.ledger) if one["began_s"] > full_s]
    refused = [one for one in lines if one["status"] == _UNAVAILABLE]
    report.least("answered 503", len(refused), 1)
    unsaid = sum(not one["retry_after"] for one in refused)
    report.most("503 without Retry-After", unsaid, 0)
    report.most("202 again after, s", report.figures["recovery_s"], RECOVERY_S)
    now = site.pid("listener"), site.second.pid, site.pid("ingest-1")
    report.most("processes that were restarted", int(pids != now), 0)
    return report


def _is_refused(load: Load) -> bool:
    return any(one["status"] == _UNAVAILABLE for one in entries(load.ledger)[-50:])


@contextmanager
def filled(site: Site) -> Generator[None]:
    """Leave no room on the database's file system for the block."""
    root = Path(f"/proc/{site.pid('postgres')}/root")
    filler = root / site.platform.var.relative_to("/") / "filler"
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        _fill(descriptor)
        yield
    finally:
        os.close(descriptor)
        filler.unlink()


def _fill(descriptor: int) -> None:
    """Take all the room there is, in ever smaller pieces."""
    size = 0
    piece = 64 * 1024 * 1024
    while piece >= 4096:
        try:
            os.posix_fallocate(descriptor, size, piece)
            size += piece
        except OSError:
            piece //= 2
