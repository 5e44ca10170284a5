"""
Writing results from a thread of its own, while requests fly and others are claimed.

What the database does not take (it restarts, a lock) is kept and tried again while its
lease lasts. What it will never take is logged and given up alone, not with the others.
"""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import psycopg
from django.conf import settings

from subscriptions.services.delivering.recording import Result, record
from tenants.identifiers import public_id

log = logging.getLogger(__name__)

#: Results that are written together: at least, unless the first has waited; at most.
ENOUGH = 64
AT_MOST = 256
WAIT_S = 0.02
#: Results that may wait; with more, no delivery is claimed.
FULL = 1_024
#: Between tries to write what the database did not take.
AGAIN_S = 0.5


@dataclass(frozen=True)
class _Left:
    """What the database did not take just now, and why."""

    results: Sequence[Result]
    error: psycopg.Error


class Recorder:
    """Takes results from one thread, and writes them from another."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="record")
        self._writing: Future[_Left | None] | None = None
        self._results: list[Result] = []
        self._due_at = 0.0
        #: Whether the database did not take what was last written.
        self._is_refused = False
        #: Whether results were lost, so that their deliveries go out again.
        self.has_given_up = False

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *reason: object) -> None:
        """End the thread."""
        self._thread.shutdown()

    @property
    def is_busy(self) -> bool:
        """Whether it is writing."""
        return self._writing is not None

    @property
    def is_empty(self) -> bool:
        """Whether everything is written."""
        return self._writing is None and not self._results

    @property
    def is_open(self) -> bool:
        """Whether more may come: the database takes it, and not too much waits."""
        return not self._is_refused and len(self._results) < FULL

    def add(self, results: Sequence[Result]) -> None:
        """Take results; they are written soon."""
        if not self._results:
            self._due_at = time.monotonic() + WAIT_S
        self._results.extend(results)

    def move_on(self, *, is_last: bool) -> None:
        """
        Look how the writing goes, and begin to write when it is time.

        `is_last`: nothing else is on its way that could be written with it.
        Raises: whatever `record` raises that is no fault of the database.
        """
        if self._writing is not None and self._writing.done():
            writing, self._writing = self._writing, None
            self._note(writing.result())
        if self._writing is None and self._is_due(is_last=is_last):
            batch, self._results = self._results[:AT_MOST], self._results[AT_MOST:]
            self._writing = self._thread.submit(_write, batch)

    def _is_due(self, *, is_last: bool) -> bool:
        if not self._results:
            return False
        is_enough = is_last or len(self._results) >= ENOUGH
        return (is_enough and not self._is_refused) or (
            time.monotonic() >= self._due_at
        )

    def _note(self, left: _Left | None) -> None:
        self._is_refused = False
        if left is None:
            return
        now = time.monotonic()
        oldest = now + AGAIN_S - settings.DELIVERY_LEASE_S
        kept = [one for one in left.results if one.outcome.started > oldest]
        log.warning(
            "%d results could not be written, %d will be tried again: %s",
            len(left.results),
            len(kept),
            left.error,
        )
        self.has_given_up = self.has_given_up or len(kept) < len(left.results)
        self._results = kept + self._results
        self._is_refused = bool(self._results)
        self._due_at = now + AGAIN_S


def _write(results: Sequence[Result]) -> _Left | None:
    """Write the results; return what the database did not take just now."""
    try:
        record(results)
    except (psycopg.OperationalError, psycopg.InternalError) as error:
        # Internal: a transaction that was ended, or a standby that takes no writes yet.
        return _Left(results, error)
    except psycopg.Error:
        if len(results) > 1:
            return _write_singly(results)
        delivery = public_id("dlv", results[0].claimed.delivery_id)
        log.exception("The result of %s cannot be written.", delivery)
    return None


def _write_singly(results: Sequence[Result]) -> _Left | None:
    for number, result in enumerate(results):
        left = _write([result])
        if left is not None:
            return _Left(results[number:], left.error)
    return None
