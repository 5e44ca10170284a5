"""
Green Button (NAESB ESPI in an Atom feed): what customers download from utilities.

Entries refer to each other by links. The device is the usage point, the channel the
meter reading, both by the last part of their address; the reading type that the meter
reading links to has unit and power of ten. A callback is one interval block.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from ingest.replaying.posting import LineInvalid, Posting, posting

_ATOM = "{http://www.w3.org/2005/Atom}"
_ESPI = "{http://naesb.org/espi}"
#: ESPI's `uom`; a code that is not here goes out as `uom-<code>`.
_UNITS = {
    "31": "J",
    "38": "W",
    "42": "m3",
    "71": "VAh",
    "72": "Wh",
    "73": "varh",
    "119": "ft3",
    "128": "[gal_us]",
    "134": "l",
    "169": "therm",
}
#: ESPI's `QualityOfReading` in NEM12's letters; 14, raw, is what most meters send.
_QUALITIES = {
    "7": "S",
    "8": "E",
    "9": "E",
    "10": "E",
    "11": "E",
    "12": "E",
    "13": "E",
    "15": "E",
}


@dataclass(frozen=True)
class Entry:
    """One entry of the feed: its address, what it refers to, what it holds."""

    address: str
    related: list[str]
    content: Element


@dataclass(frozen=True)
class ReadingType:
    """What the numbers of a meter reading mean."""

    unit: str
    multiplier: Decimal


def recognises(head: str) -> bool:
    """Tell whether a file that begins like this is one."""
    return "<feed" in head and "naesb.org/espi" in head


def postings(path: Path, prefix: str) -> Iterator[Posting]:
    """
    Return one callback per interval block, in the feed's order.

    Raises: LineInvalid: not a feed, or a block whose reading type is not in it.
    """
    entries = _entries(path)
    types = _types_by_reading(entries)
    for entry in entries:
        for number, block in enumerate(entry.content.iter(f"{_ESPI}IntervalBlock")):
            reading_address = _up_to(entry.address, "MeterReading")
            if reading_address not in types:
                raise LineInvalid(f"{entry.address}: no reading type in the feed")
            device = _last(_up_to(entry.address, "UsagePoint"))
            channel = _last(reading_address)
            block_id = _last(entry.address) + (f".{number}" if number else "")
            name = f"{prefix}{path.name}/{device}/{channel}/{block_id}"
            readings = _readings(block, channel, types[reading_address])
            yield posting(name, device, readings)


def _entries(path: Path) -> list[Entry]:
    text = path.read_bytes()
    if b"<!DOCTYPE" in text:
        raise LineInvalid("a document type is not part of a Green Button feed")
    try:
        feed = ElementTree.fromstring(text)  # noqa: S314 (no DTD, so no entities)
    except ElementTree.ParseError as error:
        raise LineInvalid(f"not XML: {error}") from error
    return [_entry(element) for element in feed.iter(f"{_ATOM}entry")]


def _entry(element: Element) -> Entry:
    links: dict[str, list[str]] = {}
    for link in element.findall(f"{_ATOM}link"):
        links.setdefault(link.get("rel", ""), []).append(link.get("href", ""))
    content = element.find(f"{_ATOM}content")
    return Entry(
        address=links.get("self", [""])[0],
        related=links.get("related", []),
        content=Element("empty") if content is None else content,
    )


def _types_by_reading(entries: list[Entry]) -> dict[str, ReadingType]:
    types = {
        entry.address: _reading_type(found)
        for entry in entries
        if (found := entry.content.find(f"{_ESPI}ReadingType")) is not None
    }
    return {
        entry.address: types[address]
        for entry in entries
        if entry.content.find(f"{_ESPI}MeterReading") is not None
        for address in entry.related
        if address in types
    }


def _reading_type(element: Element) -> ReadingType:
    code = _text(element, "uom")
    power = _integer(element, "powerOfTenMultiplier", default="0")
    return ReadingType(_UNITS.get(code, f"uom-{code}"), Decimal(1).scaleb(power))


def _readings(
    block: Element, channel: str, reading_type: ReadingType
) -> list[dict[str, Any]]:
    return [
        {
            "channel": channel,
            "at": _moment(reading),
            "duration_s": _integer(reading, "timePeriod", "duration"),
            "unit": reading_type.unit,
            "value": f"{_value(reading) * reading_type.multiplier:f}",
            "quality": _QUALITIES.get(_text(reading, "ReadingQuality", "quality"), "A"),
        }
        for reading in block.iter(f"{_ESPI}IntervalReading")
    ]


def _moment(reading: Element) -> str:
    start_s = _integer(reading, "timePeriod", "start")
    return datetime.fromtimestamp(start_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _value(reading: Element) -> Decimal:
    text = _text(reading, "value")
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise LineInvalid(f"value {text!r} is not a number") from error


def _integer(element: Element, *names: str, default: str = "") -> int:
    text = _text(element, *names) or default
    try:
        return int(text)
    except ValueError as error:
        raise LineInvalid(f"{names[-1]} {text!r} is not a whole number") from error


def _text(element: Element, *names: str) -> str:
    found = element.findtext("/".join(f"{_ESPI}{name}" for name in names))
    return (found or "").strip()


def _up_to(address: str, kind: str) -> str:
    """Return the part of an address that ends with this kind's id."""
    parts = address.split("/")
    if kind not in parts or parts.index(kind) + 1 == len(parts):
        raise LineInvalid(f"{address!r} belongs to no {kind}")
    return "/".join(parts[: parts.index(kind) + 2])


def _last(address: str) -> str:
    return address.rsplit("/", 1)[-1]
