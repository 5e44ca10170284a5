"""
The checks that every JSON format shares: RFC 8259 in UTF-8, not too deep, storable.

Everything that looks at each byte runs in C, so that a body of 10 MiB does not hold
the event loop.
"""

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from ingest.formats.interface import EnvelopeInvalid

#: Nested arrays and objects, the outermost one included.
DEPTH_LIMIT = 64
#: Commas, of which there is one for almost every value: what is decoded one by one
#: takes some 70 bytes and a microsecond each. 100,000 readings have some 600,000.
COMMAS_LIMIT = 1_000_000
#: How JSON writes U+0000, which PostgreSQL has no place for.
NUL_ESCAPE = b"\\u0000"
#: What a decoder raises for bytes that are not what it decodes.
UNDECODABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
#: Below this size counting brackets is quicker than looking how they nest.
_SHORT = 64 * 1024
_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))

T = TypeVar("T")


def require_utf8(body: bytes) -> None:
    """
    Check that it is UTF-8, and not of more values than can be looked at.

    Raises: EnvelopeInvalid: malformed_json.
    """
    if len(body) > COMMAS_LIMIT and body.count(b",") > COMMAS_LIMIT:
        raise malformed(f"More than {COMMAS_LIMIT:,} values.")
    if body.isascii():
        return
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise malformed(f"Not UTF-8 at byte {error.start}.") from None


def decode_json(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw) -> T:
    """
    Return what the decoder makes of it.

    Raises: EnvelopeInvalid: malformed_json: not JSON. msgspec.ValidationError: JSON up
    to there, of another type.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        raise malformed(f"{error}.") from None
    except RecursionError:
        raise _too_deep() from None


def require_depth(body: bytes) -> None:
    """
    Check that valid JSON is not nested too deeply.

    Escapes and all but brackets and quotes are dropped, then quotes that stand side by
    side. Of what is left, every other piece between quotes was inside a string; mostly
    there is none. Removing empty pairs takes one level a round.

    Raises: EnvelopeInvalid: malformed_json.
    """
    if len(body) < _SHORT and body.count(b"[") + body.count(b"{") <= DEPTH_LIMIT:
        return
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    levels = body.translate(_TO_SQUARE, delete=_NOT_STRUCTURE).replace(b'""', b"")
    if b'"' in levels:
        levels = b"".join(levels.split(b'"')[::2])
    for _ in range(DEPTH_LIMIT):
        levels = levels.replace(b"[]", b"")
        if not levels:
            return
    raise _too_deep()


def require_storable(texts: Iterable[Any]) -> None:
    """
    Check that those which are texts have no U+0000.

    Raises: EnvelopeInvalid: malformed_json.
    """
    if any(isinstance(text, str) and "\0" in text for text in texts):
        raise malformed("U+0000 in a text that is stored.")


def malformed(detail: str) -> EnvelopeInvalid:
    """Return the error of a body that is not what JSON must be here."""
    return EnvelopeInvalid("malformed_json", detail)


def _too_deep() -> EnvelopeInvalid:
    return malformed(f"Nested deeper than {DEPTH_LIMIT}.")
