"""
Taking a listener out of service: first for those who ask, then for everyone.

The moment of the end is in memory that the main process shares with its workers. Until
then `/readyz` says no, so that a proxy sends nothing new, and callbacks are still
taken; replies close their connections. Source: docs/explanation/processes.md
"""

import mmap
import struct
from time import monotonic

_MOMENT = struct.Struct("d")
#: Anonymous, so that it lives in the process that makes it and those it forks. The
#: clock is the machine's: the same in each of them.
_shared = mmap.mmap(-1, _MOMENT.size)


def begin(seconds: float) -> None:
    """Set the moment of the end; a second time sets it anew."""
    _MOMENT.pack_into(_shared, 0, monotonic() + seconds)


def is_on() -> bool:
    """Whether the listener is being taken out of service."""
    return ends_at() > 0


def ends_at() -> float:
    """Return the moment of the end, by `monotonic`; 0.0: none is set."""
    moment: float = _MOMENT.unpack_from(_shared)[0]
    return moment
