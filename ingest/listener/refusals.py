"""
One structured line on standard error for each refused request, within bounds.

Lines are written by a thread: where nobody reads them, they are counted and dropped,
and no request waits.
"""

import itertools
import logging
import os
import queue
import secrets
import threading
from time import monotonic

import structlog

from ingest.listener import metrics

#: Lines a second; of the others only the number is written.
LINES_PER_S = 1000
#: Lines that wait to be written; more are dropped.
LINES_KEPT = 4096
#: Characters of a path, a method or an address: strangers choose how long they are.
TEXT_LIMIT = 100
_PREFIX = "/v1/callbacks/"
_STAMP = structlog.processors.TimeStamper(fmt="iso", utc=True)


class Lines:
    """Writes lines to a file that may be full, from a thread of its own."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: queue.Queue[str] = queue.Queue(LINES_KEPT)
        self._thread: threading.Thread | None = None

    def write(self, line: str) -> bool:
        """Write a line soon; False: too many wait, it is dropped."""
        if self._thread is None:
            # Not before: threads do not outlive a fork.
            self._thread = threading.Thread(target=self._run, name="lines", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            return False
        return True

    def finish(self, timeout_s: float = 1.0) -> None:
        """Give the last lines a moment to be written."""
        end = monotonic() + timeout_s
        with self._waiting.all_tasks_done:
            while self._waiting.unfinished_tasks and (left := end - monotonic()) > 0:
                self._waiting.all_tasks_done.wait(left)

    def _run(self) -> None:
        while True:
            data = f"{self._waiting.get()}\n".encode(errors="backslashreplace")
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:
                # Nobody reads any more; there is nowhere to say so.
                pass
            finally:
                self._waiting.task_done()


#: Standard error's. Everything that this process says goes there.
STDERR = Lines(2)


class LineHandler(logging.Handler):
    """Brings what Python's loggers say into the same lines."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines
        self.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                processors=[
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.format_exc_info,
                    structlog.processors.JSONRenderer(),
                ],
                foreign_pre_chain=[
                    structlog.stdlib.add_log_level,
                    structlog.stdlib.add_logger_name,
                    _STAMP,
                ],
            )
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless too many wait."""
        self._lines.write(self.format(record))


def adopt_loggers() -> None:
    """Let everything that this process says be lines of the same form."""
    logging.captureWarnings(True)
    logging.getLogger().handlers = [LineHandler(STDERR)]
    # The server's own, which brings handlers that wait for the reader.
    server = logging.getLogger("_granian")
    server.handlers, server.propagate = [], True


class RefusalLog:
    """Writes who was refused and why; never a body, a signature or a secret."""

    def __init__(self, lines: Lines = STDERR) -> None:
        self._lines = lines
        self._prefix = f"{os.getpid():x}{secrets.token_hex(3)}"
        self._numbers = itertools.count(1)
        self._render = structlog.processors.JSONRenderer()
        self._second = 0
        self._written = 0
        self._suppressed = 0

    def write(
        self, *, code: str, status: int, path: str, client: str, method: str = "POST"
    ) -> str:
        """Write the line, and return the request id that the sender is told."""
        request_id = f"{self._prefix}-{next(self._numbers)}"
        if self._has_room() and self._lines.write(
            self._line(
                code=code,
                status=status,
                method=method[:TEXT_LIMIT],
                path=path[:TEXT_LIMIT],
                source=_source(path),
                client=client[:TEXT_LIMIT],
                request_id=request_id,
                suppressed=self._suppressed,
            )
        ):
            self._suppressed = 0
        else:
            self._suppressed += 1
            metrics.REFUSALS_UNWRITTEN.inc()
        return request_id

    def _line(self, **members: object) -> str:
        stamped = _STAMP(None, "info", {"event": "refused", **members})
        return str(self._render(None, "info", stamped))

    def _has_room(self) -> bool:
        second = int(monotonic())
        if second != self._second:
            self._second, self._written = second, 0
        self._written += 1
        return self._written <= LINES_PER_S


def _source(path: str) -> str | None:
    """Return the source that the path names, whether there is one or not."""
    return path[len(_PREFIX) :][:TEXT_LIMIT] if path.startswith(_PREFIX) else None
