"""
What the listener reads of a callback's body: that it is JSON, and whose it is.

Strict RFC 8259 in UTF-8. Nothing inside a reading is judged here, except that texts
which will be stored can be: PostgreSQL has no U+0000. Everything that looks at each
byte runs in C, so that a body of 10 MiB does not hold the event loop.
"""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

#: Nested arrays and objects, the outermost one included.
DEPTH_LIMIT = 64
TRANSACTION_ID_LIMIT = 255
_NUL_ESCAPE = b"\\u0000"
_BRACKETS = b"[]{}"
_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))


class EnvelopeInvalid(ValueError):
    """The body cannot be read; `code` says why, the text says where."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Envelope(msgspec.Struct, gc=False):
    """The members that the listener needs; the others are skipped, not decoded."""

    readings: Raw
    transaction_id: str | UnsetType = UNSET


class _Members(msgspec.Struct):
    """The same members, of any type: to say which one is wrong."""

    readings: Raw | UnsetType = UNSET
    transaction_id: Raw | UnsetType = UNSET


class _Texts(msgspec.Struct):
    """The members of a callback or a reading that end up in a text column."""

    device: Any = None
    channel: Any = None
    unit: Any = None
    kind: Any = None
    quality: Any = None
    at: Any = None
    value: Any = None


class _Readings(msgspec.Struct):
    readings: list[Raw]


_envelope = msgspec.json.Decoder(Envelope)
_members = msgspec.json.Decoder(_Members)
_texts = msgspec.json.Decoder(_Texts)
_readings = msgspec.json.Decoder(_Readings)
_string = msgspec.json.Decoder(str)


def read_envelope(body: bytes) -> Envelope:
    """
    Return the envelope.

    Raises: EnvelopeInvalid: malformed_json, invalid_transaction_id, missing_readings.
    """
    _check_utf8(body)
    envelope = _decode(body)
    identifier = envelope.transaction_id
    if identifier is not UNSET and not 1 <= len(identifier) <= TRANSACTION_ID_LIMIT:
        raise _identifier_invalid()
    if memoryview(envelope.readings)[0] != ord("["):
        raise _no_readings()
    if body.count(b"[") + body.count(b"{") > DEPTH_LIMIT:
        _check_depth(body)
    if _NUL_ESCAPE in body:
        _check_texts(body, envelope)
    return envelope


def _check_utf8(body: bytes) -> None:
    if body.isascii():
        return
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise _malformed(f"Not UTF-8 at byte {error.start}.") from None


def _decode(body: bytes) -> Envelope:
    try:
        return _decode_or_explain(body)
    except msgspec.DecodeError as error:
        raise _malformed(f"{error}.") from None
    except RecursionError:
        raise _too_deep() from None


def _decode_or_explain(body: bytes) -> Envelope:
    try:
        return _envelope.decode(body)
    except msgspec.ValidationError:
        # Raised at the first wrong type: what follows it may not even be JSON.
        return _explain(body)


def _explain(body: bytes) -> Envelope:
    """Return the envelope after all, for the last of repeated members counts."""
    try:
        members = _members.decode(body)
    except msgspec.ValidationError:
        raise _malformed("The body is not an object.") from None
    if members.readings is UNSET:
        raise _no_readings()
    if members.transaction_id is UNSET or bytes(members.transaction_id) == b"null":
        return Envelope(readings=members.readings)
    try:
        identifier = _string.decode(members.transaction_id)
    except msgspec.ValidationError:
        raise _identifier_invalid() from None
    return Envelope(readings=members.readings, transaction_id=identifier)


def _check_depth(body: bytes) -> None:
    """
    Refuse valid JSON that is nested too deeply.

    Escapes and all but brackets and quotes are dropped; of what is left, every other
    piece between quotes was inside a string. Removing empty pairs takes one level a
    round.
    """
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    pieces = bare.translate(None, delete=_NOT_STRUCTURE).split(b'"')
    levels = b"".join(pieces[::2]).translate(_TO_SQUARE)
    for _ in range(DEPTH_LIMIT):
        levels = levels.replace(b"[]", b"")
    if levels:
        raise _too_deep()


def _check_texts(body: bytes, envelope: Envelope) -> None:
    """Refuse U+0000 in a text that is stored as text; elsewhere it may stand."""
    texts = [envelope.transaction_id, *_stored_texts(body)]
    for raw in _readings.decode(body).readings:
        texts += _stored_texts(raw)
    if any(isinstance(text, str) and "\0" in text for text in texts):
        raise _malformed("U+0000 in a text that is stored.")


def _stored_texts(raw: bytes | Raw) -> tuple[Any, ...]:
    try:
        return msgspec.structs.astuple(_texts.decode(raw))
    except msgspec.ValidationError:
        return ()


def _malformed(detail: str) -> EnvelopeInvalid:
    return EnvelopeInvalid("malformed_json", detail)


def _too_deep() -> EnvelopeInvalid:
    return _malformed(f"Nested deeper than {DEPTH_LIMIT}.")


def _identifier_invalid() -> EnvelopeInvalid:
    return EnvelopeInvalid(
        "invalid_transaction_id",
        f"transaction_id is a text of 1 to {TRANSACTION_ID_LIMIT} characters.",
    )


def _no_readings() -> EnvelopeInvalid:
    return EnvelopeInvalid("missing_readings", "readings is an array.")
