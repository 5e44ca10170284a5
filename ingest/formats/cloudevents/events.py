"""
A CloudEvent in JSON: its attributes, and the data that holds the readings.

The listener and the worker read it alike: by the attributes here, and what is in
`data` by the format that `datacontenttype` names.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from ingest.formats.interface import EnvelopeInvalid, Format
from ingest.formats.limits import NAME_LIMIT, TRANSACTION_ID_LIMIT
from ingest.formats.strict_json import decode_json

VERSION = "1.0"
DEFAULT_TYPE = "application/json"
#: What the specification bans from attributes.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NOTHING = Raw(b"")
_ABSENT = frozenset({b"", b"null"})


class Event(NamedTuple):
    """What is needed of an event."""

    transaction_id: str
    #: Whose the readings are where the data does not say.
    device: str | None
    form: Format
    data: bytes


class _Members(msgspec.Struct):
    """The members that matter, of any type; others are skipped."""

    specversion: Raw = _NOTHING
    id: Raw = _NOTHING
    source: Raw = _NOTHING
    type: Raw = _NOTHING
    datacontenttype: Raw = _NOTHING
    subject: Raw = _NOTHING
    data: Raw = _NOTHING
    data_base64: Raw = _NOTHING


_members = msgspec.json.Decoder(_Members)
_string = msgspec.json.Decoder(str)


def read_event(body: bytes | Raw, inner: Mapping[str, Format]) -> Event:
    """
    Return the event; what its data holds is not looked at.

    Raises: EnvelopeInvalid: malformed_json, invalid_event, invalid_transaction_id,
        missing_readings.
    """
    try:
        members = decode_json(_members, body)
    except msgspec.ValidationError:
        raise _invalid("The event is not an object.") from None
    if _required(members, "specversion") != VERSION:
        raise _invalid(f'specversion is "{VERSION}".')
    _required(members, "type")
    return Event(
        _transaction_id(_required(members, "id"), _required(members, "source")),
        _device(_text(members, "subject")),
        _form(_text(members, "datacontenttype"), inner),
        _data(members),
    )


def _transaction_id(identifier: str, source: str) -> str:
    """
    Return `<source> <id>`.

    A source is a URI reference and so has no space: no two events share the text.
    """
    if " " in source:
        raise _invalid("source is a URI reference.")
    text = f"{source} {identifier}"
    if len(text) > TRANSACTION_ID_LIMIT:
        raise EnvelopeInvalid(
            "invalid_transaction_id",
            f"source and id have at most {TRANSACTION_ID_LIMIT - 1} characters.",
        )
    return text


def _device(subject: str | None) -> str | None:
    return subject if subject and len(subject) <= NAME_LIMIT else None


def _form(content_type: str | None, inner: Mapping[str, Format]) -> Format:
    name = content_type or DEFAULT_TYPE
    form = inner.get(name.partition(";")[0].strip().lower())
    if form is None:
        raise _invalid(f"datacontenttype is one of {', '.join(inner)}.")
    return form


def _data(members: _Members) -> bytes:
    has_data = bytes(members.data) not in _ABSENT
    encoded = _text(members, "data_base64")
    if has_data and encoded is not None:
        raise _invalid("data and data_base64 are not sent together.")
    if encoded is None:
        if not has_data:
            raise EnvelopeInvalid("missing_readings", "data holds the readings.")
        return bytes(members.data)
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("data_base64 is base64.") from None


def _required(members: _Members, name: str) -> str:
    text = _text(members, name)
    if not text:
        raise _invalid(f"{name} is a text, and not empty.")
    return text


def _text(members: _Members, name: str) -> str | None:
    """Return an attribute; None: it is absent."""
    raw: Any = bytes(getattr(members, name))
    if raw in _ABSENT:
        return None
    try:
        text = _string.decode(raw)
    except msgspec.DecodeError:
        raise _invalid(f"{name} is a text.") from None
    if _CONTROL.search(text):
        raise _invalid(f"{name} has no control characters.")
    return text


def _invalid(detail: str) -> EnvelopeInvalid:
    return EnvelopeInvalid("invalid_event", detail)
