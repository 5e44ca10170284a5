"""One structured line on standard error for each refused request, within bounds."""

import itertools
import os
import secrets
import sys
from time import monotonic

import structlog

#: Lines a second; of the others only the number is written.
LINES_PER_S = 20

_log: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
    structlog.PrintLogger(sys.stderr),
    processors=[
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.JSONRenderer(),
    ],
    wrapper_class=structlog.make_filtering_bound_logger(0),
)


class RefusalLog:
    """Writes who was refused and why; never a body, a signature or a secret."""

    def __init__(self) -> None:
        self._prefix = f"{os.getpid():x}{secrets.token_hex(3)}"
        self._numbers = itertools.count(1)
        self._second = 0
        self._written = 0
        self._suppressed = 0

    def write(self, *, code: str, status: int, path: str, client: str) -> str:
        """Write the line, and return the request id that the sender is told."""
        request_id = f"{self._prefix}-{next(self._numbers)}"
        if self._has_room():
            _log.info(
                "refused",
                code=code,
                status=status,
                # A stranger's path can be as long as it likes.
                path=path[:100],
                client=client,
                request_id=request_id,
                suppressed=self._suppressed,
            )
            self._suppressed = 0
        else:
            self._suppressed += 1
        return request_id

    def _has_room(self) -> bool:
        second = int(monotonic())
        if second != self._second:
            self._second, self._written = second, 0
        self._written += 1
        return self._written <= LINES_PER_S
