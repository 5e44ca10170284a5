"""
A SenML pack: records to readings, with the base fields resolved.

A base field counts for its record and for those after it, so one that cannot be read
refuses the whole pack; any other fault refuses its record alone.
Source: docs/reference/formats/senml.md
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Context as Arithmetic
from decimal import Decimal

import msgspec

from ingest.formats.decimals import exact_number, fits
from ingest.formats.interface import Context
from ingest.formats.limits import AHEAD, EARLIEST, NAME_LIMIT, UNIT_LIMIT
from ingest.formats.parsed import Parsed, ParsedReading
from ingest.formats.senml.names import device_and_channel
from ingest.formats.senml.units import Scaled, unit_of_sum, unit_of_value
from ingest.formats.strict_json import UNDECODABLE

#: The version of RFC 8428, and the newest that is understood.
VERSION = 10
#: Times below are counted from the receipt, others from 1970.
RELATIVE_BELOW_US = 2**28 * 1_000_000
SUM_SUFFIX = ":sum"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Well past any time that is accepted.
_FARTHEST_S = Decimal(10**11)
#: Digits of a whole number of seconds that is surely below that.
_SHORT_TIME = 11
_NOTHING = msgspec.Raw(b"")
_ABSENT = frozenset({b"", b"null"})
_QUOTE = b'"'
#: Wide enough that sums of accepted numbers are exact.
_EXACT = Arithmetic(prec=200)
#: A member that ends in `_`: whoever does not know it must not use the pack.
_MUST_UNDERSTAND = re.compile(rb'_"\s*:')

DETAILS = {
    "base_invalid": "A base field (bn, bt, bu, bv, bs) is not what RFC 8428 says.",
    "version_unsupported": f"bver: a whole number, {VERSION} at most.",
    "label_unknown": "A label ends in _, and is not known here.",
    "malformed_json": "The body is not an array of records.",
    "reading_invalid": "A record is an object with n, u, t, v and s as RFC 8428 says.",
    "device_missing": "n: neither the record nor a base name names a device.",
    "device_invalid": "bn, n: a device's name has 1 to 255 characters.",
    "channel_invalid": "n: a channel's name has 1 to 255 characters.",
    "time_invalid": "t: a number of seconds.",
    "time_out_of_range": "t: from 2000-01-01 to a day from now.",
    "unit_invalid": "u: text of at most 16 characters.",
    "value_missing": "A record needs v, vs, vb, vd or s.",
    "value_invalid": "v, s: a number.",
    "value_out_of_range": "v, s: at most 38 digits.",
    "text_invalid": "U+0000 cannot be stored.",
}


class _Bases(msgspec.Struct, gc=False):
    """The fields that later records inherit."""

    bn: str | None = None
    bt: msgspec.Raw = _NOTHING
    bu: str | None = None
    bv: msgspec.Raw = _NOTHING
    bs: msgspec.Raw = _NOTHING
    bver: msgspec.Raw = _NOTHING


class _Record(_Bases, gc=False):
    """One record as it came."""

    n: str | None = None
    u: str | None = None
    t: msgspec.Raw = _NOTHING
    v: msgspec.Raw = _NOTHING
    s: msgspec.Raw = _NOTHING
    vs: msgspec.Raw = _NOTHING
    vb: msgspec.Raw = _NOTHING
    vd: msgspec.Raw = _NOTHING


_decode_pack = msgspec.json.Decoder(list[_Record]).decode
_decode_parts = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_record = msgspec.json.Decoder(_Record).decode
_decode_bases = msgspec.json.Decoder(_Bases).decode
_decode_labels = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class _Refused(Exception):
    """Why a record, or the pack, is refused: a code of DETAILS."""


@dataclass(slots=True)
class _InForce:
    """The base fields in force at a record."""

    name: str = ""
    time_us: int = 0
    unit: str = ""
    value: Decimal | None = None
    sum: Decimal | None = None

    def take(self, record: _Bases) -> None:
        """Put a record's base fields into force."""
        if record.bn is not None:
            self.name = record.bn
        if record.bu is not None:
            self.unit = record.bu
        numbers = record.bt, record.bv, record.bs, record.bver
        if any(numbers):
            self._take_numbers(*map(bytes, numbers))

    def _take_numbers(
        self, time: bytes, value: bytes, total: bytes, ver: bytes
    ) -> None:
        if ver not in _ABSENT and not (ver.isdigit() and int(ver[:9]) <= VERSION):
            raise _Refused("version_unsupported")
        try:
            if time not in _ABSENT:
                self.time_us = _microseconds(time)
            if value not in _ABSENT:
                self.value = _number(value)
            if total not in _ABSENT:
                self.sum = _number(total)
        except _Refused:
            raise _Refused("base_invalid") from None


def parse(body: bytes, context: Context) -> Parsed:
    """Return the pack's readings in order, and an error for each refused record."""
    parsed = Parsed()
    try:
        _resolve(body, context, parsed)
    except _Refused as refused:
        parsed = Parsed()
        _refuse(parsed, None, refused)
    return parsed


def _resolve(body: bytes, context: Context, parsed: Parsed) -> None:
    _check_labels(body)
    bases = _InForce()
    for index, (own, record) in enumerate(_records(body)):
        if own is not None:
            bases.take(own)
        try:
            parsed.readings += _rows(index, record, bases, context)
        except _Refused as refused:
            _refuse(parsed, index, refused)


def _refuse(parsed: Parsed, index: int | None, refused: _Refused) -> None:
    code = str(refused)
    parsed.refuse(index, code, DETAILS[code])


def _check_labels(body: bytes) -> None:
    """Refuse a pack with a label that must be understood; none of those known is."""
    if not _MUST_UNDERSTAND.search(body):
        return
    try:
        records = _decode_labels(body)
    except UNDECODABLE:
        # Not an array of objects: some of them are refused for that.
        records = [_labels(raw) for raw in _parts(body)]
    if any(label.endswith("_") for record in records for label in record):
        raise _Refused("label_unknown")


def _labels(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    try:
        return _decode_object(raw)
    except UNDECODABLE:
        return {}


def _records(body: bytes) -> Iterator[tuple[_Bases | None, _Record | None]]:
    """Return each record and what it has of base fields; None: it is no record."""
    try:
        pack = _decode_pack(body)
    except UNDECODABLE:
        return ((_bases_of(raw), _record_of(raw)) for raw in _parts(body))
    return zip(pack, pack, strict=True)


def _parts(body: bytes) -> list[msgspec.Raw]:
    try:
        return _decode_parts(body)
    except UNDECODABLE:
        raise _Refused("malformed_json") from None


def _bases_of(raw: msgspec.Raw) -> _Bases | None:
    if not bytes(raw).startswith(b"{"):
        return None
    try:
        return _decode_bases(raw)
    except UNDECODABLE:
        raise _Refused("base_invalid") from None


def _record_of(raw: msgspec.Raw) -> _Record | None:
    try:
        return _decode_record(raw)
    except UNDECODABLE:
        return None


def _rows(
    index: int, record: _Record | None, bases: _InForce, context: Context
) -> list[ParsedReading]:
    """Return the readings of a record: its value, its sum, both or none."""
    if record is None:
        raise _Refused("reading_invalid")
    measured = _measured(record, bases)
    if not measured:
        return []
    device, channel = device_and_channel(bases.name, record.n or "", context.device)
    at = _moment(bytes(record.t), bases, context)
    if device is None:
        raise _Refused("device_missing")
    rows: list[ParsedReading] = []
    for suffix, value, unit in measured:
        code = channel + suffix
        _check_texts(device, code, unit)
        rows.append((index, device, code, "register", at, 0, value, unit, "A"))
    return rows


def _check_texts(device: str, channel: str, unit: str) -> None:
    if len(device) > NAME_LIMIT:
        raise _Refused("device_invalid")
    if len(channel) > NAME_LIMIT:
        raise _Refused("channel_invalid")
    if len(unit) > UNIT_LIMIT:
        raise _Refused("unit_invalid")
    if "\0" in device or "\0" in channel or "\0" in unit:
        raise _Refused("text_invalid")


def _measured(record: _Record, bases: _InForce) -> list[tuple[str, Decimal, str]]:
    """Return the suffix of its channel, the value and the unit of each number."""
    value, total = bytes(record.v), bytes(record.s)
    has_value, has_sum = value not in _ABSENT, total not in _ABSENT
    others = _count_others(record)
    if has_value + others > 1:
        raise _Refused("reading_invalid")
    if not (has_value or has_sum or others):
        if _is_base_only(record):
            return []
        if bases.value is None and bases.sum is None:
            raise _Refused("value_missing")
    name = bases.unit if record.u is None else record.u
    measured = []
    if has_value or (bases.value is not None and not (has_sum or others)):
        unit = unit_of_value(name)
        measured.append(("", _scaled(value, bases.value, unit), unit.name))
    if has_sum or bases.sum is not None:
        unit = unit_of_sum(name)
        measured.append((SUM_SUFFIX, _scaled(total, bases.sum, unit), unit.name))
    return measured


def _count_others(record: _Record) -> int:
    """Return how many values it has that are no numbers."""
    present = [raw for raw in (record.vs, record.vb, record.vd) if raw]
    return sum(bytes(raw) not in _ABSENT for raw in present)


def _is_base_only(record: _Record) -> bool:
    return record.n is None and record.u is None and bytes(record.t) in _ABSENT


def _scaled(text: bytes, base: Decimal | None, unit: Scaled) -> Decimal:
    """Return base + value in the platform's unit, exactly; what is absent is 0."""
    value = Decimal(0) if text in _ABSENT else _number(text)
    if base is None and unit.factor is None:
        return value
    value = _EXACT.add(value, base or Decimal(0))
    if unit.factor is not None:
        value = _EXACT.multiply(value, unit.factor)
    if not fits(value):
        raise _Refused("value_out_of_range")
    return value


def _number(text: bytes) -> Decimal:
    """Return a JSON number; a string is none."""
    value = "value_invalid" if text.startswith(_QUOTE) else exact_number(text)
    if isinstance(value, str):
        raise _Refused(value)
    return value


def _moment(text: bytes, bases: _InForce, context: Context) -> datetime:
    """Return when it was measured: from 1970, or from the receipt."""
    offset_us = bases.time_us + (0 if text in _ABSENT else _microseconds(text))
    origin = context.received_at if offset_us < RELATIVE_BELOW_US else _EPOCH
    try:
        at = (origin + timedelta(microseconds=offset_us)).astimezone(UTC)
    except OverflowError:
        raise _Refused("time_out_of_range") from None
    if not EARLIEST <= at <= context.now + AHEAD:
        raise _Refused("time_out_of_range")
    return at


def _microseconds(text: bytes) -> int:
    if len(text) <= _SHORT_TIME and text.isdigit():
        return int(text) * 1_000_000
    try:
        seconds = _number(text)
    except _Refused:
        raise _Refused("time_invalid") from None
    if abs(seconds) > _FARTHEST_S:
        raise _Refused("time_out_of_range")
    return int(_EXACT.multiply(seconds, Decimal(1_000_000)).to_integral_value())
