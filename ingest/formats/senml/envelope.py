"""What the listener reads of a SenML pack: that it is an array of records."""

from typing import Any

import msgspec
from msgspec import Raw

from ingest.formats.interface import Envelope, EnvelopeInvalid
from ingest.formats.strict_json import (
    NUL_ESCAPE,
    decode_json,
    malformed,
    require_depth,
    require_storable,
    require_utf8,
)


class _Texts(msgspec.Struct):
    """The members of a record that end up in a text column."""

    bn: Any = None
    bu: Any = None
    n: Any = None
    u: Any = None


_pack = msgspec.json.Decoder(list[Raw])
_texts = msgspec.json.Decoder(_Texts)


def read(body: bytes) -> list[Envelope]:
    """
    Return the pack's one envelope; it has no transaction id of its own.

    Raises: EnvelopeInvalid: malformed_json, missing_readings.
    """
    require_utf8(body)
    try:
        records = decode_json(_pack, body)
    except msgspec.ValidationError:
        raise malformed("The body is not an array.") from None
    if not records:
        raise EnvelopeInvalid("missing_readings", "The array has no record.")
    require_depth(body)
    if NUL_ESCAPE in body:
        for raw in records:
            if NUL_ESCAPE in bytes(raw):
                require_storable(_stored_texts(raw))
    return [Envelope(body)]


def _stored_texts(raw: Raw) -> tuple[Any, ...]:
    try:
        return msgspec.structs.astuple(_texts.decode(raw))
    except msgspec.ValidationError:
        return ()
