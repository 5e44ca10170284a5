"""
opengrid CSV: a `ts_utc` column, then one column of mean power or flow per device.

`<device>_mean_w` is watts, `<device>_mean_lpm` and `<device>_lpm` are litres a minute;
each becomes the quantity of the interval (Wh, l), exactly. An empty cell is a missing
reading. A callback carries one device's UTC day.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation, localcontext
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from ingest.replaying.posting import LineInvalid, Posting, posting

CHANNEL = "main"
_SECONDS_PER_HOUR = 3600
_SECONDS_PER_MINUTE = 60
#: Watts over a step that does not divide an hour may not end; then this many places.
_PLACES = Decimal("1e-15")
#: Rows that are looked at to tell the interval's length.
_SAMPLE_ROWS = 1000


@dataclass(frozen=True)
class Column:
    """A device's column: where it stands and what its numbers mean."""

    index: int
    device: str
    unit: str
    #: The quantity of the interval is value times seconds, divided by this.
    divisor: int


@dataclass(frozen=True)
class Row:
    """One line: its number in the file, its moment, its cells."""

    line: int
    at: datetime
    cells: list[str]


_QUANTITIES = {
    "mean_w": ("Wh", _SECONDS_PER_HOUR),
    "mean_lpm": ("l", _SECONDS_PER_MINUTE),
    "lpm": ("l", _SECONDS_PER_MINUTE),
}


def recognises(head: str) -> bool:
    """Tell whether a file that begins like this is one."""
    return head.startswith("ts_utc,")


def postings(path: Path, prefix: str) -> Iterator[Posting]:
    """
    Return one callback per UTC day and device, oldest day first.

    Raises: LineInvalid: a cell or a column that is not understood.
    """
    columns = _columns(path)
    duration_s = _interval_s(path)
    last = date.min
    for day, group in groupby(_rows(path), key=lambda row: row.at.date()):
        rows = list(group)
        if day <= last:
            raise LineInvalid(f"line {rows[0].line}: the times are not in order")
        last = day
        for column in columns:
            readings = [_reading(row, column, duration_s) for row in rows]
            name = f"{prefix}{path.name}/{column.device}/{day.isoformat()}"
            yield posting(name, column.device, readings)


def _columns(path: Path) -> list[Column]:
    with path.open(newline="", encoding="utf-8") as file:
        header = next(csv.reader(file), [])
    return [_column(index, name) for index, name in enumerate(header) if index]


def _column(index: int, name: str) -> Column:
    device, _, measured = name.partition("_")
    if not device or measured not in _QUANTITIES:
        raise LineInvalid(
            f"line 1: column {name!r} is none of <device>_mean_w, <device>_mean_lpm, "
            f"<device>_lpm"
        )
    return Column(index, device, *_QUANTITIES[measured])


def _rows(path: Path) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        width = len(next(lines, []))
        for cells in lines:
            if len(cells) != width:
                raise LineInvalid(
                    f"line {lines.line_num}: {len(cells)} cells, not {width}"
                )
            yield Row(lines.line_num, _moment(cells[0], lines.line_num), cells)


def _moment(text: str, line: int) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise LineInvalid(f"line {line}: {text!r} is not a time") from error
    if moment.tzinfo is None:
        raise LineInvalid(f"line {line}: {text!r} has no offset from UTC")
    return moment.astimezone(UTC)


def _interval_s(path: Path) -> int:
    """Return the most common step between the file's first rows."""
    moments = [row.at for row, _ in zip(_rows(path), range(_SAMPLE_ROWS), strict=False)]
    steps = Counter(int((b - a).total_seconds()) for a, b in pairwise(moments))
    if not steps or (step := steps.most_common(1)[0][0]) <= 0:
        raise LineInvalid("fewer than two rows in order: how long is an interval?")
    return step


def _reading(row: Row, column: Column, duration_s: int) -> dict[str, Any]:
    reading: dict[str, Any] = {
        "channel": CHANNEL,
        "at": row.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "duration_s": duration_s,
        "unit": column.unit,
    }
    cell = row.cells[column.index].strip()
    if not cell:
        return {**reading, "quality": "N"}
    return {
        **reading,
        "value": _quantity(cell, column.divisor, duration_s, row.line),
        "quality": "A",
    }


def _quantity(cell: str, divisor: int, duration_s: int, line: int) -> str:
    """Return the quantity of the interval, without exponent or float."""
    try:
        value = Decimal(cell)
    except InvalidOperation as error:
        raise LineInvalid(f"line {line}: {cell!r} is not a number") from error
    if not value.is_finite():
        raise LineInvalid(f"line {line}: {cell!r} is not a number")
    with localcontext(prec=60):
        product = value * duration_s
        quotient = product / divisor
        exact = quotient * divisor == product
        return f"{quotient if exact else quotient.quantize(_PLACES):f}"
