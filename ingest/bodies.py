"""How a raw body is shown to a person: as JSON, as text, or as bytes."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from string import punctuation
from typing import Any

import msgspec

#: The part of a body that a page shows.
SHOWN_BYTES = 64 * 1024
#: The part of one that is no text: a line of sixteen bytes takes five times as much.
_SHOWN_BINARY_BYTES = 4 * 1024
#: Characters that indentation may add up to.
_SHOWN_CHARACTERS = 4 * SHOWN_BYTES
_ROW_BYTES = 16
_PLAIN_CONTROLS = "\t\n\r"
_DELETE = "\x7f"
_FIRST_PRINTABLE = " "
_FIRST_ASCII, _LAST_ASCII = 0x20, 0x7E
#: Devices that a list names of one body.
_MOST_DEVICES = 3
_MOST_LOOKED_AT = 1_000


@dataclass(frozen=True)
class ShownBody:
    """What a page shows of a body."""

    #: `json`, `text` or `hex`.
    form: str
    text: str
    size_bytes: int
    is_cut: bool


def show_body(raw: bytes) -> ShownBody:
    """Return a body for reading; whoever shows it escapes it."""
    for form in (_as_json, _as_text):
        text = form(raw)
        if text is not None:
            shown = text[:_SHOWN_CHARACTERS]
            is_cut = len(raw) > SHOWN_BYTES or len(shown) < len(text)
            return ShownBody(form.__name__[4:], shown, len(raw), is_cut)
    is_cut = len(raw) > _SHOWN_BINARY_BYTES
    return ShownBody("hex", _as_hex(raw), len(raw), is_cut)


def named_devices(raw: bytes) -> list[str]:
    """
    Return the devices that a body names, however wrong the rest of it is.

    No parser is asked: one that a body takes down would take the page down too.
    Shape: the first three, each once; a format that names them elsewhere has none.
    """
    try:
        found = islice(_names(msgspec.json.decode(raw)), _MOST_LOOKED_AT)
        return list(dict.fromkeys(found))[:_MOST_DEVICES]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


def _names(part: Any) -> Iterator[str]:
    """Yield `device` of native JSON and its readings, `bn` of SenML, in event data."""
    if isinstance(part, list):
        for one in part:
            yield from _names(one)
    elif isinstance(part, dict):
        device, base = part.get("device"), part.get("bn")
        if isinstance(device, str) and device:
            yield device
        elif isinstance(base, str) and base:
            # Whatever joins it to the names that follow.
            yield base.rstrip(punctuation) or base
        for inner in ("readings", "data"):
            yield from _names(part.get(inner))


def _as_json(raw: bytes) -> str | None:
    """Indent JSON, number by number as it came; one that is cut is none."""
    if len(raw) > SHOWN_BYTES:
        return None
    try:
        msgspec.json.decode(raw, type=msgspec.Raw)
        return msgspec.json.format(raw, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _as_text(raw: bytes) -> str | None:
    """Decode the beginning; a character that the cut halves is left out."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        text = decoder.decode(raw[:SHOWN_BYTES], final=len(raw) <= SHOWN_BYTES)
    except UnicodeDecodeError:
        return None
    has_controls = any(
        (one < _FIRST_PRINTABLE and one not in _PLAIN_CONTROLS) or one == _DELETE
        for one in text
    )
    return None if has_controls else text


def _as_hex(raw: bytes) -> str:
    shown = raw[:_SHOWN_BINARY_BYTES]
    return "\n".join(
        _row(start, shown[start : start + _ROW_BYTES])
        for start in range(0, len(shown), _ROW_BYTES)
    )


def _row(start: int, part: bytes) -> str:
    readable = "".join(
        chr(byte) if _FIRST_ASCII <= byte <= _LAST_ASCII else "." for byte in part
    )
    return f"{start:08x}  {part.hex(' '):<47}  {readable}"
