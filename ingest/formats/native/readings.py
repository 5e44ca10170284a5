"""
Gridhook's own JSON body: bytes to readings, and what is wrong with each of the others.

One typed decode takes the whole body when all of it is right. When anything is not,
every reading is decoded by itself, so that a bad one is refused alone.
Source: docs/reference/formats/native.md
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from ingest.formats.decimals import exact_number
from ingest.formats.interface import Context
from ingest.formats.limits import AHEAD, EARLIEST, NAME_LIMIT, UNIT_LIMIT
from ingest.formats.parsed import Parsed
from ingest.formats.strict_json import NUL_ESCAPE, UNDECODABLE

LONGEST_S = 366 * 86_400

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LIMIT)]
_NOTHING = msgspec.Raw(b"")
_NO_VALUE = frozenset({b"", b"null"})
#: A parsed reading without its index.
_Row = tuple[str, str, str, datetime, int, Decimal | None, str, str]


class Reading(msgspec.Struct, gc=False):
    """One reading as it came, typed; `device` is never empty once it was checked."""

    at: Annotated[datetime, msgspec.Meta(tz=True)]
    channel: _Name | None = None
    device: _Name | None = None
    duration_s: int | None = None
    value: msgspec.Raw = _NOTHING
    unit: Annotated[str, msgspec.Meta(max_length=UNIT_LIMIT)] | None = None
    quality: Literal["A", "E", "S", "F", "N"] = "A"
    kind: Literal["interval", "register"] = "interval"


class _Body(msgspec.Struct):
    readings: list[Reading]
    device: _Name | None = None


class _Envelope(msgspec.Struct):
    readings: list[msgspec.Raw]
    device: msgspec.Raw = _NOTHING


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_reading = msgspec.json.Decoder(Reading).decode
_decode_name = msgspec.json.Decoder(_Name).decode

_PATH = re.compile(r"`\$\.(\w+)`$")

#: Member that does not decode → the error's code.
_CODES = {
    "at": "time_invalid",
    "channel": "channel_invalid",
    "device": "device_invalid",
    "duration_s": "duration_invalid",
    "unit": "unit_invalid",
    "quality": "quality_unknown",
    "kind": "kind_unknown",
}
DETAILS = {
    "time_invalid": "at: ISO 8601 with an offset, such as 2016-01-01T00:00:00+01:00.",
    "time_out_of_range": "at: from 2000-01-01 to a day from now.",
    "channel_invalid": "channel: text of 1 to 255 characters.",
    "device_invalid": "device: text of 1 to 255 characters.",
    "device_missing": "device: neither the reading nor the body names one.",
    "duration_missing": "duration_s: an interval needs its length in seconds.",
    "duration_invalid": "duration_s: a whole number from 1 to 31622400.",
    "unit_invalid": "unit: text of at most 16 characters.",
    "quality_unknown": "quality: A, E, S, F or N.",
    "kind_unknown": "kind: interval or register.",
    "value_missing": "value: only quality N has none.",
    "value_unexpected": "value: quality N says that there is none.",
    "value_invalid": "value: a decimal, as a number or a string.",
    "value_out_of_range": "value: at most 38 digits.",
    "text_invalid": "U+0000 cannot be stored.",
    "reading_invalid": "A reading is an object.",
    "malformed_json": "The body is not an object with a list of readings.",
}


def parse(body: bytes, context: Context) -> Parsed:
    """Return the body's readings in order, and an error for each that is refused."""
    parsed = Parsed()
    try:
        decoded = _decode_body(body)
    except UNDECODABLE:
        _parse_one_by_one(body, context, parsed)
    else:
        _judge_all(decoded.readings, decoded.device, context, parsed)
    if NUL_ESCAPE in body:
        _refuse_nul(parsed)
    return parsed


def _parse_one_by_one(body: bytes, context: Context, parsed: Parsed) -> None:
    try:
        envelope = _decode_envelope(body)
    except UNDECODABLE:
        parsed.refuse(None, "malformed_json", DETAILS["malformed_json"])
        return
    decoded = map(_reading_or_code, envelope.readings)
    _judge_all(decoded, _name(envelope.device), context, parsed)


def _reading_or_code(raw: msgspec.Raw) -> Reading | str:
    try:
        return _decode_reading(raw)
    except UNDECODABLE as error:
        return _code_of(error)


def _judge_all(
    readings: Iterable[Reading | str],
    device: str | None,
    context: Context,
    parsed: Parsed,
) -> None:
    device = device or context.device
    latest = context.now + AHEAD
    take = parsed.readings.append
    for index, reading in enumerate(readings):
        row = reading if isinstance(reading, str) else _row(reading, device, latest)
        if isinstance(row, str):
            parsed.refuse(index, row, DETAILS[row])
        else:
            take((index, *row))


def _row(reading: Reading, device: str | None, latest: datetime) -> _Row | str:
    """Return what is kept of a reading, or why it is refused."""
    name = reading.device or device
    if name is None:
        return "device_missing"
    fault = _fault(reading, latest)
    if fault is not None:
        return fault
    value = None if reading.quality == "N" else exact_number(bytes(reading.value))
    if isinstance(value, str):
        return value
    return (
        name,
        reading.channel or "main",
        reading.kind,
        reading.at.astimezone(UTC),
        (reading.duration_s or 0) if reading.kind == "interval" else 0,
        value,
        reading.unit or "",
        reading.quality,
    )


def _fault(reading: Reading, latest: datetime) -> str | None:
    if not EARLIEST <= reading.at <= latest:
        return "time_out_of_range"
    if reading.kind == "interval":
        if reading.duration_s is None:
            return "duration_missing"
        if not 1 <= reading.duration_s <= LONGEST_S:
            return "duration_invalid"
    if reading.quality == "N" and bytes(reading.value) not in _NO_VALUE:
        return "value_unexpected"
    return None


def _name(raw: msgspec.Raw) -> str | None:
    """Return the body's device; None: it names none, and each reading needs its own."""
    try:
        return _decode_name(raw)
    except UNDECODABLE:
        return None


def _code_of(error: Exception) -> str:
    text = str(error)
    path = _PATH.search(text)
    if path:
        return _CODES.get(path[1], "reading_invalid")
    return "time_invalid" if "required field `at`" in text else "reading_invalid"


def _refuse_nul(parsed: Parsed) -> None:
    """Refuse readings whose texts Postgres could not store."""
    kept = []
    for reading in parsed.readings:
        if any("\0" in text for text in (reading[1], reading[2], reading[7])):
            parsed.refuse(reading[0], "text_invalid", DETAILS["text_invalid"])
        else:
            kept.append(reading)
    parsed.readings[:] = kept
