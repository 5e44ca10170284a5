"""
Granian, taken out of service before it stops, and never alone.

The main process answers signals; its workers answer devices. SIGTERM begins the drain
(`drain`), a second one or SIGINT ends at once; either way requests that were begun are
answered by what became of them. Source: docs/explanation/processes.md
"""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from django.conf import settings
from granian.constants import Interfaces, Loops, SSLProtocols
from granian.http import HTTP1Settings, HTTP2Settings
from granian.log import LogLevels, logger
from granian.server.mp import MPServer

from ingest.listener import BACKLOG, STOP_TIMEOUT_S, drain, workers

TARGET = "ingest.listener.rsgi:listener"
#: Milliseconds that a connection has for the head of a request.
HEAD_TIMEOUT_MS = 10_000
HEAD_LIMIT_BYTES = 64 * 1024
#: Requests at once on an HTTP/2 connection.
STREAMS = 64
#: Seconds before a worker that died is started again.
RESPAWN_PAUSE_S = 0.5
#: Seconds that a worker has to come up, when it replaces one that serves.
START_TIMEOUT_S = 30.0
#: Seconds between two looks of the main process at what it was told.
LOOK_S = 0.05


class Wakes:
    """
    What wakes Granian's main loop: that there is something to do, and nothing else.

    The event it brings takes a lock: set by a signal's handler that interrupts the very
    thread that waits for it, it waits for itself for ever; and a signal that comes a
    moment before that thread goes to sleep is heard when the next one wakes it.
    """

    def __init__(self, server: MPServer) -> None:
        self._server = server

    def wait(self) -> None:
        """Return when the server has been told something."""
        told = self._server
        while not (
            told.interrupt_signal or told.reload_signal or told.interrupt_children
        ):
            time.sleep(LOOK_S)

    def set(self) -> None:
        """Do nothing: who calls this has said what there is to do."""

    def clear(self) -> None:
        """Do nothing: it is cleared by being done."""


class DrainingServer(MPServer):
    """Granian's main process, with a drain before its end."""

    def __init__(self, count: int) -> None:
        has_tls = bool(settings.TLS_CERT)
        super().__init__(
            TARGET,
            address=settings.BIND,
            port=settings.LISTENER_PORT,
            interface=Interfaces.RSGI,
            workers=count,
            loop=Loops.uvloop,
            websockets=False,
            backlog=BACKLOG,
            backpressure=BACKLOG,
            http1_settings=HTTP1Settings(
                header_read_timeout=HEAD_TIMEOUT_MS, max_buffer_size=HEAD_LIMIT_BYTES
            ),
            http2_settings=HTTP2Settings(
                max_headers_size=HEAD_LIMIT_BYTES, max_concurrent_streams=STREAMS
            ),
            log_level=LogLevels.warning,
            ssl_cert=Path(settings.TLS_CERT) if has_tls else None,
            ssl_key=Path(settings.TLS_KEY) if has_tls else None,
            ssl_protocol_min=SSLProtocols.tls13,
            respawn_failed_workers=True,
            respawn_interval=RESPAWN_PAUSE_S,
            workers_kill_timeout=STOP_TIMEOUT_S,
        )
        self._drain_s = settings.DRAIN_S
        self.main_loop_interrupt: Any = Wakes(self)

    def signal_handler_interrupt(
        self, number: int = signal.SIGINT, frame: FrameType | None = None
    ) -> None:
        """Begin the drain, or end."""
        if number == signal.SIGTERM and self._drain_s > 0 and not drain.is_on():
            drain.begin(self._drain_s)
            signal.signal(signal.SIGALRM, self.signal_handler_interrupt)
            signal.setitimer(signal.ITIMER_REAL, self._drain_s)
            return
        drain.begin(0)
        super().signal_handler_interrupt()  # type: ignore[no-untyped-call]  # untyped there

    def shutdown(self, exit_code: int = 0) -> None:
        """End; workers that were told to, or did so by themselves, have not failed."""
        for worker in self.wrks:
            worker.interrupt_by_parent = True
        self.interrupt_children.clear()
        super().shutdown(exit_code)  # type: ignore[no-untyped-call]  # untyped there

    def _respawn_workers(self, *arguments: Any, **options: Any) -> None:
        """Start workers again, however often they die."""
        time.sleep(RESPAWN_PAUSE_S)
        super()._respawn_workers(*arguments, **options)
        # Granian gives up on all workers when one dies twice within seconds; whoever
        # kills one must not get the others with it.
        self.respawned_wrks.clear()

    def _reload(self, spawn_target: Any, target_loader: Any) -> None:
        """Replace the workers one by one, each when the next one serves."""
        self.reload_signal = False
        for place, old in enumerate(list(self.wrks)):
            fresh: Any = self._spawn_worker(
                idx=old.idx, target=spawn_target, callback_loader=target_loader
            )
            fresh.start()
            if self._comes_up(fresh):
                self.wrks[place] = fresh
                _end(old)
            else:
                logger.error("A new worker does not serve; the old ones stay")
                _end(fresh)
                self.interrupt_children.clear()
                return

    def _comes_up(self, worker: Any) -> bool:
        end = time.monotonic() + START_TIMEOUT_S
        while not workers.serves(worker.inner.pid):
            if not worker.is_alive() or time.monotonic() > end or self.interrupt_signal:
                return False
            time.sleep(0.05)
        return True


def _end(worker: Any) -> None:
    worker.interrupt_by_parent = True
    # SIGTERM would wait for the end of a drain.
    with suppress(ProcessLookupError):
        os.kill(worker.inner.pid, signal.SIGINT)
    worker.join(STOP_TIMEOUT_S)
    if worker.is_alive():
        worker.kill()
        worker.join()
