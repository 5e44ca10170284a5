"""
Bytes straight into the formats, as listener and worker read them.

What may come of any bytes at all: `read` returns or raises EnvelopeInvalid, `parse`
returns; what it returned can be stored.
"""

import json
from datetime import UTC, datetime
from pathlib import Path

from ingest import formats
from ingest.formats.interface import Context, EnvelopeInvalid
from ingest.formats.parsed import Parsed
from ingest.formats.registry import FORMATS

NOW = datetime(2026, 11, 23, 18, 0, tzinfo=UTC)
_CONTEXT = Context(now=NOW, received_at=NOW)
_FOLDER = Path(formats.__file__).parent
KINDS = sorted(FORMATS)


def seeds() -> list[bytes]:
    """Return the fixtures of every format."""
    return [path.read_bytes() for path in sorted(_FOLDER.glob("*/fixtures/*.json"))]


def chew(kind: str, body: bytes) -> int:
    """
    Read and parse a body as this content type; return how many callbacks it made.

    Raises: AssertionError: what was parsed could not be stored.
    """
    form = FORMATS[kind]
    try:
        envelopes = form.read(body)
    except EnvelopeInvalid:
        return 0
    part = FORMATS[form.parts_type] if form.parts_type else form
    for envelope in envelopes:
        _check(part.parse(bytes(envelope.body), _CONTEXT))
    return len(envelopes)


def _check(parsed: Parsed) -> None:
    for reading in parsed.readings:
        _, device, channel, kind, start_at, duration_s, value, unit, quality = reading
        for text in (device, channel, kind, unit, quality):
            assert "\0" not in text
            text.encode()
        assert device
        assert channel
        assert start_at.tzinfo is not None
        assert 0 <= duration_s <= 366 * 86_400
        assert value is None or value.is_finite()
    json.dumps([error.code for error in parsed.errors])
