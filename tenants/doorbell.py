"""
Telling the workers that there is work: a hint, never the work itself.

Bells are rung from a thread of their own, so that no request waits for the broker.
A bell asked for again within its pause is rung once, when the pause is over. A lost
bell costs latency alone: the sweep finds the work.
Source: docs/explanation/durability.md
"""

import contextlib
import logging
import threading
from time import monotonic
from typing import Any

from celery import current_app
from django.db import transaction
from kombu import Connection
from kombu.exceptions import KombuError

log = logging.getLogger(__name__)

#: Seconds between two rings of one bell.
PAUSE_S = 0.05
#: Of bells whose work is cheaper done rarely: a day's usage is computed from all of
#: its readings, however many of them are new.
LONGER_PAUSES_S = {"ingest.recompute_usage": 1.0}
#: A bell nobody heard for this long, by the worker's clock, is thrown away: longer than
#: clocks differ, for a worker whose clock is ahead must not miss them all.
EXPIRY_S = 2 * 3600
#: With this many bells waiting, one more would tell nothing new.
ENOUGH_WAITING = 4


class Doorbell:
    """A thread that rings the bells it is asked to."""

    def __init__(self) -> None:
        #: Whether the last bell failed in a way that nobody thought of.
        self._has_stumbled = False
        #: Bells asked for and when they are wanted, and when each was rung last.
        self._asked: dict[str, float] = {}
        self._rung_at: dict[str, float] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def ring(self, task: str, after_s: float = 0.0) -> None:
        """Ask for a bell, now or in a while; returns at once and never fails."""
        wanted_at = monotonic() + after_s
        with self._lock:
            self._asked[task] = min(wanted_at, self._asked.get(task, wanted_at))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="doorbell", daemon=True
                )
                self._thread.start()
        self._wake.set()

    def _run(self) -> None:
        # The thread's own: a connection is never shared with a forked process.
        broker: Connection | None = None
        pause_s: float | None = None
        while True:
            self._wake.wait(pause_s)
            self._wake.clear()
            due, pause_s = self._take_due(monotonic())
            for task in due:
                broker = self._publish(task, broker)

    def _publish(self, task: str, broker: Connection | None) -> Connection | None:
        """Ring, whatever happens: without its thread every bell would be lost."""
        try:
            broker = _publish(task, broker)
        except Exception:
            if not self._has_stumbled:
                log.exception(
                    "No bell for %s; more of it is not told until one rings", task
                )
            self._has_stumbled = True
            return None
        self._has_stumbled = False
        return broker

    def _take_due(self, now: float) -> tuple[list[str], float | None]:
        """Return the bells to ring now, and the seconds until the next one is due."""
        with self._lock:
            waits = {
                task: max(wanted_at, self._due_at(task)) - now
                for task, wanted_at in self._asked.items()
            }
            due = sorted(task for task, wait_s in waits.items() if wait_s <= 0)
            for task in due:
                del self._asked[task]
        self._rung_at.update(dict.fromkeys(due, now))
        return due, min(
            (wait_s for wait_s in waits.values() if wait_s > 0), default=None
        )

    def _due_at(self, task: str) -> float:
        pause_s = LONGER_PAUSES_S.get(task, PAUSE_S)
        return self._rung_at.get(task, -pause_s) + pause_s


def _publish(task: str, broker: Connection | None) -> Connection | None:
    """Ring, and return the connection to ring by next time; None: it failed."""
    queue = current_app.amqp.router.route({}, task)["queue"].name
    broker = broker or current_app.connection_for_write()
    # What the transport's own library raises is no KombuError everywhere.
    faults: tuple[type[BaseException], ...] = (
        KombuError,
        OSError,
        *broker.connection_errors,
        *broker.channel_errors,
    )
    try:
        channel: Any = broker.default_channel
        waiting = channel.queue_declare(queue)
        if waiting.message_count < ENOUGH_WAITING:
            current_app.send_task(
                task, connection=broker, expires=EXPIRY_S, retry=False
            )
    except faults as error:
        log.info("No bell for %s: %s", task, error)
        with contextlib.suppress(*faults):
            broker.release()
        return None
    return broker


_bell = Doorbell()


def ring(task: str, after_s: float = 0.0) -> None:
    """Ring the bell of a task, now or in a while."""
    _bell.ring(task, after_s)


def ring_after_commit(task: str) -> None:
    """Ring the bell of a task when the open transaction has committed."""
    transaction.on_commit(lambda: _bell.ring(task))
