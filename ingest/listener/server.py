"""
Granian, taken out of service before it stops, and never alone.

The main process answers signals; its workers answer devices. SIGTERM begins the drain
(`drain`), a second one or SIGINT ends at once; either way requests that were begun are
answered by what became of them. Source: docs/explanation/processes.md
"""

import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

from django.conf import settings
from granian.constants import Interfaces, Loops, SSLProtocols
from granian.http import HTTP1Settings, HTTP2Settings
from granian.log import LogLevels
from granian.server import MPServer

from ingest.listener import STOP_TIMEOUT_S, drain

TARGET = "ingest.listener.rsgi:listener"
#: Connections that wait for the process to accept them.
BACKLOG = 2048
#: Milliseconds that a connection has for the head of a request.
HEAD_TIMEOUT_MS = 10_000
HEAD_LIMIT_BYTES = 64 * 1024
#: Seconds before a worker that died is started again.
RESPAWN_PAUSE_S = 0.5


class DrainingServer(MPServer):
    """Granian's main process, with a drain before its end."""

    def __init__(self, workers: int) -> None:
        has_tls = bool(settings.TLS_CERT)
        super().__init__(
            TARGET,
            address=settings.BIND,
            port=settings.LISTENER_PORT,
            interface=Interfaces.RSGI,
            workers=workers,
            loop=Loops.uvloop,
            websockets=False,
            backlog=BACKLOG,
            backpressure=BACKLOG,
            http1_settings=HTTP1Settings(header_read_timeout=HEAD_TIMEOUT_MS),
            http2_settings=HTTP2Settings(max_headers_size=HEAD_LIMIT_BYTES),
            log_level=LogLevels.warning,
            ssl_cert=Path(settings.TLS_CERT) if has_tls else None,
            ssl_key=Path(settings.TLS_KEY) if has_tls else None,
            ssl_protocol_min=SSLProtocols.tls13,
            respawn_failed_workers=True,
            respawn_interval=RESPAWN_PAUSE_S,
            workers_kill_timeout=STOP_TIMEOUT_S,
        )
        self._drain_s = settings.DRAIN_S

    def signal_handler_interrupt(
        self, number: int = signal.SIGINT, frame: FrameType | None = None
    ) -> None:
        """Begin the drain, or end."""
        if number == signal.SIGTERM and self._drain_s > 0 and not drain.is_on():
            drain.begin(self._drain_s)
            signal.signal(signal.SIGALRM, self.signal_handler_interrupt)
            signal.setitimer(signal.ITIMER_REAL, self._drain_s)
            return
        super().signal_handler_interrupt()  # type: ignore[no-untyped-call]  # untyped there

    def _respawn_workers(self, *arguments: Any, **options: Any) -> None:
        """Start workers again, however often they die."""
        time.sleep(RESPAWN_PAUSE_S)
        super()._respawn_workers(*arguments, **options)
        # Granian gives up on all workers when one dies twice within seconds; whoever
        # kills one must not get the others with it.
        self.respawned_wrks.clear()
