"""
Telling the workers that there is work: a hint, never the work itself.

Bells are rung from a thread of their own, so that no request waits for the broker,
and repeats within a moment are rung once. A lost bell costs latency alone: the sweep
finds the work. Source: docs/explanation/durability.md
"""

import contextlib
import logging
import threading
from typing import Any

from celery import current_app
from django.db import transaction
from kombu import Connection
from kombu.exceptions import KombuError

log = logging.getLogger(__name__)

#: Repeats within this many seconds are one ring.
COALESCE_S = 0.05
#: A bell nobody heard for this long is thrown away.
EXPIRY_S = 30
#: With this many bells waiting, one more would tell nothing new.
ENOUGH_WAITING = 4


class Doorbell:
    """A thread that rings the bells it is asked to."""

    def __init__(self) -> None:
        self._asked: set[str] = set()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def ring(self, task: str) -> None:
        """Ask for a bell; returns at once and never fails."""
        with self._lock:
            self._asked.add(task)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="doorbell", daemon=True
                )
                self._thread.start()
        self._wake.set()

    def _run(self) -> None:
        pause = threading.Event()
        # The thread's own: a connection is never shared with a forked process.
        broker: Connection | None = None
        while True:
            self._wake.wait()
            self._wake.clear()
            with self._lock:
                asked, self._asked = self._asked, set()
            for task in sorted(asked):
                broker = _publish(task, broker)
            pause.wait(COALESCE_S)


def _publish(task: str, broker: Connection | None) -> Connection | None:
    """Ring, and return the connection to ring by next time; None: it failed."""
    queue = current_app.amqp.router.route({}, task)["queue"].name
    try:
        broker = broker or current_app.connection_for_write()
        channel: Any = broker.default_channel
        waiting = channel.queue_declare(queue)
        if waiting.message_count < ENOUGH_WAITING:
            current_app.send_task(
                task, connection=broker, expires=EXPIRY_S, retry=False
            )
    except (KombuError, OSError) as error:
        log.info("No bell for %s: %s", task, error)
        _close(broker)
        return None
    return broker


def _close(broker: Connection | None) -> None:
    if broker is not None:
        with contextlib.suppress(KombuError, OSError):
            broker.release()


_bell = Doorbell()


def ring(task: str) -> None:
    """Ring the bell of a task, at once."""
    _bell.ring(task)


def ring_after_commit(task: str) -> None:
    """Ring the bell of a task when the open transaction has committed."""
    transaction.on_commit(lambda: _bell.ring(task))
