"""
What the listener reads of a native body: that it is JSON, and whose it is.

Nothing inside a reading is judged here, except that texts which will be stored can be.
"""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ingest.formats.interface import Envelope, EnvelopeInvalid
from ingest.formats.limits import TRANSACTION_ID_LIMIT
from ingest.formats.strict_json import (
    DEPTH_LIMIT,
    NUL_ESCAPE,
    decode_json,
    malformed,
    require_depth,
    require_storable,
    require_utf8,
)


class _Head(msgspec.Struct, gc=False):
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


_head = msgspec.json.Decoder(_Head)
_members = msgspec.json.Decoder(_Members)
_texts = msgspec.json.Decoder(_Texts)
_readings = msgspec.json.Decoder(_Readings)
_string = msgspec.json.Decoder(str)


def read(body: bytes) -> list[Envelope]:
    """
    Return the body's one envelope.

    Raises: EnvelopeInvalid: malformed_json, invalid_transaction_id, missing_readings.
    """
    require_utf8(body)
    head = _decode(body)
    identifier = head.transaction_id
    if identifier is not UNSET and not 1 <= len(identifier) <= TRANSACTION_ID_LIMIT:
        raise _identifier_invalid()
    if memoryview(head.readings)[0] != ord("["):
        raise _no_readings()
    if body.count(b"[") + body.count(b"{") > DEPTH_LIMIT:
        require_depth(body)
    if NUL_ESCAPE in body:
        _check_texts(body, head)
    return [Envelope(body, None if identifier is UNSET else identifier)]


def _decode(body: bytes) -> _Head:
    try:
        return decode_json(_head, body)
    except msgspec.ValidationError:
        # Raised at the first wrong type: what follows it may not even be JSON.
        return _explain(body)


def _explain(body: bytes) -> _Head:
    """Return the members after all, for the last of repeated ones counts."""
    try:
        members = decode_json(_members, body)
    except msgspec.ValidationError:
        raise malformed("The body is not an object.") from None
    if members.readings is UNSET:
        raise _no_readings()
    if members.transaction_id is UNSET or bytes(members.transaction_id) == b"null":
        return _Head(readings=members.readings)
    try:
        identifier = decode_json(_string, members.transaction_id)
    except msgspec.ValidationError:
        raise _identifier_invalid() from None
    return _Head(readings=members.readings, transaction_id=identifier)


def _check_texts(body: bytes, head: _Head) -> None:
    """Refuse U+0000 in a text that is stored as text; elsewhere it may stand."""
    require_storable([head.transaction_id, *_stored_texts(body)])
    for raw in _readings.decode(body).readings:
        if NUL_ESCAPE in bytes(raw):
            require_storable(_stored_texts(raw))


def _stored_texts(raw: bytes | Raw) -> tuple[Any, ...]:
    try:
        return msgspec.structs.astuple(_texts.decode(raw))
    except msgspec.ValidationError:
        return ()


def _identifier_invalid() -> EnvelopeInvalid:
    return EnvelopeInvalid(
        "invalid_transaction_id",
        f"transaction_id is a text of 1 to {TRANSACTION_ID_LIMIT} characters.",
    )


def _no_readings() -> EnvelopeInvalid:
    return EnvelopeInvalid("missing_readings", "readings is an array.")
