"""
What a format is: how the listener and the worker read one content type.

A format is a folder: `envelope.py` has `read`, `readings.py` has `parse`, `__init__.py`
makes the one `Format` of both. Source: docs/how-to/add-a-format.md
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import NamedTuple

import msgspec

from ingest.formats.parsed import Parsed


class Naming(Enum):
    """Where a callback's transaction id comes from."""

    #: The body states it, or `webhook-id` does; where both do, they are equal.
    STATED = 1
    #: The body has none: `webhook-id`, or the body's SHA-256 where there is no such.
    CONTENT = 2
    #: The body's own, however it is delivered.
    EVENT = 3


class Envelope(msgspec.Struct, gc=False):
    """What the listener knows of one callback: its bytes, and whose they are."""

    #: Of a batch's part a view, so that no byte is held twice.
    body: bytes | memoryview
    #: None: the body states none.
    transaction_id: str | None = None
    #: SHA-256 of the bytes; whoever stores them fills it in.
    digest: bytes = b""


class EnvelopeInvalid(ValueError):
    """The body cannot be read; `code` says why, the text says where."""

    def __init__(self, code: str, detail: str, *, index: int | None = None) -> None:
        super().__init__(detail)
        self.code = code
        #: The place of a batch's event that cannot be read.
        self.index = index


class Context(NamedTuple):
    """What a parser knows besides the body."""

    now: datetime
    received_at: datetime
    #: Whose the readings are where the body does not say.
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Format:
    """
    How one content type is read.

    `read` runs in the listener's event loop: what looks at each byte runs in C, and no
    reading is judged. It raises EnvelopeInvalid. `parse` runs in a worker and never
    raises: what it cannot read is an error in what it returns.
    """

    #: Without parameters, in lower case.
    content_type: str
    read: Callable[[bytes], list[Envelope]]
    parse: Callable[[bytes, Context], Parsed]
    naming: Naming
    #: The content type of each part; None: the body is one callback.
    parts_type: str | None = None
