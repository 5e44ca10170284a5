"""
Taking a listener out of service: first for those who ask, then for everyone.

The moment of the end is in memory that the main process shares with its workers. Until
then `/readyz` says no, so that a proxy sends nothing new, and callbacks are still
taken; replies close their connections. Source: docs/explanation/processes.md
"""

import mmap
from time import monotonic

#: Anonymous, so that it lives in the process that makes it and those it forks. The
#: clock is the machine's: the same in each of them.
_moment = memoryview(mmap.mmap(-1, 8)).cast("d")


def begin(seconds: float) -> None:
    """Set the moment of the end; a second time sets it anew."""
    _moment[0] = monotonic() + seconds


def is_on() -> bool:
    """Whether the listener is being taken out of service."""
    return _moment[0] > 0


def ends_at() -> float:
    """Return the moment of the end, by `monotonic`; 0.0: none is set."""
    return _moment[0]
