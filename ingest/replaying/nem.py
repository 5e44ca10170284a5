"""
NEM12 and NEM13, the Australian market's meter files.

Times are those of the market: UTC+10 all year. The device is the NMI, the channel its
suffix (`E1` import, `B1` export, `Q1` reactive, …). A NEM12 callback is one day of one
channel; where the quality is `V`, the 400 rows say it interval by interval. A NEM13
callback is one accumulation: both register reads, and the quantity between them.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from ingest.replaying.posting import LineInvalid, Posting, posting

MARKET_TIME = timezone(timedelta(hours=10))
_MINUTES_PER_DAY = 1440
_LENGTHS = (1, 5, 10, 15, 30)
#: Fields of a record up to the last that is needed.
_FIELDS_200 = 9
_FIELDS_250 = 20
_QUALITIES = frozenset("AESFN")
_VARYING = "V"


@dataclass
class Day:
    """A 300 row: one channel's day, and what the 400 rows add to it."""

    line: int
    nmi: str
    channel: str
    unit: str
    minutes: int
    start_at: datetime
    values: list[str]
    quality: str
    #: First interval, last interval (both counted from 1), quality.
    parts: list[tuple[int, int, str]] = field(default_factory=list)

    def qualities(self) -> list[str]:
        """Return each interval's quality. Raises: LineInvalid: not all have one."""
        if self.quality != _VARYING:
            return [self.quality] * len(self.values)
        found = [""] * len(self.values)
        for first, last, quality in self.parts:
            found[first - 1 : last] = [quality] * (last - first + 1)
        if len(found) != len(self.values) or not all(found):
            raise LineInvalid(
                f"line {self.line}: quality V, but no 400 row for every interval"
            )
        return found


def recognises(head: str) -> bool:
    """Tell whether a file that begins like this is one."""
    return head.lstrip("\ufeff").startswith(("100,NEM12", "100,NEM13"))


def postings(path: Path, prefix: str) -> Iterator[Posting]:
    """
    Return the file's callbacks in the order of its rows.

    Raises: LineInvalid: a row that is not what the format says.
    """
    seen: Counter[str] = Counter()
    for name, device, readings in _records(path):
        seen[name] += 1
        again = f"/{seen[name]}" if seen[name] > 1 else ""
        yield posting(f"{prefix}{path.name}/{name}{again}", device, readings)


def _records(path: Path) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    channel: list[str] = []
    day: Day | None = None
    for line, row in _rows(path):
        if row[0] == "400":
            _add_part(day, row, line)
            continue
        if day is not None:
            yield _day_record(day)
            day = None
        if row[0] == "200":
            channel = _padded(row, _FIELDS_200, line)
        elif row[0] == "300":
            day = _day(channel, row, line)
        elif row[0] == "250":
            yield _accumulation(_padded(row, _FIELDS_250, line), line)
    if day is not None:
        yield _day_record(day)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        for row in rows:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield rows.line_num, cells


def _padded(row: list[str], count: int, line: int) -> list[str]:
    if len(row) < count:
        raise LineInvalid(f"line {line}: {len(row)} fields, fewer than {count}")
    return row


def _day(channel: list[str], row: list[str], line: int) -> Day:
    if not channel:
        raise LineInvalid(f"line {line}: a 300 row before any 200 row")
    minutes = int(channel[8]) if channel[8].isdecimal() else 0
    if minutes not in _LENGTHS:
        raise LineInvalid(f"line {line}: an interval of {channel[8]!r} minutes")
    count = _MINUTES_PER_DAY // minutes
    if len(row) < count + 3:
        raise LineInvalid(f"line {line}: fewer than {count} values and a quality")
    return Day(
        line=line,
        nmi=channel[1],
        channel=channel[4],
        unit=channel[7],
        minutes=minutes,
        start_at=_moment(row[1], "%Y%m%d", line),
        values=row[2 : count + 2],
        quality=_quality(row[count + 2], line, varying=True),
    )


def _add_part(day: Day | None, row: list[str], line: int) -> None:
    if day is None:
        raise LineInvalid(f"line {line}: a 400 row without its 300 row")
    first, last, method = (_padded(row, 4, line))[1:4]
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise LineInvalid(f"line {line}: intervals {first!r} to {last!r}")
    day.parts.append((int(first), int(last), _quality(method, line)))


def _day_record(day: Day) -> tuple[str, str, list[dict[str, Any]]]:
    name = f"{day.nmi}/{day.channel}/{day.start_at:%Y-%m-%d}"
    step = timedelta(minutes=day.minutes)
    both = zip(day.values, day.qualities(), strict=True)
    readings = [
        _reading(
            day.channel, day.start_at + number * step, quality, (value, day.unit),
            day.line, duration_s=day.minutes * 60,
        )
        for number, (value, quality) in enumerate(both)
    ]  # fmt: skip
    return name, day.nmi, readings


def _accumulation(row: list[str], line: int) -> tuple[str, str, list[dict[str, Any]]]:
    nmi, channel, unit = row[1], row[4], row[19]
    before = _moment(row[9], "%Y%m%d%H%M%S", line)
    after = _moment(row[14], "%Y%m%d%H%M%S", line)
    if after <= before:
        raise LineInvalid(f"line {line}: the current read is not after the previous")
    then, now = _quality(row[10], line), _quality(row[15], line)
    span_s = int((after - before).total_seconds())
    readings = [
        _reading(channel, before, then, (row[8], unit), line),
        _reading(channel, after, now, (row[13], unit), line),
        _reading(channel, before, now, (row[18], unit), line, duration_s=span_s),
    ]
    return f"{nmi}/{channel}/{after:%Y-%m-%d}", nmi, readings


def _reading(
    channel: str,
    at: datetime,
    quality: str,
    quantity: tuple[str, str],
    line: int,
    *,
    duration_s: int = 0,
) -> dict[str, Any]:
    """Return an interval, or a register's stand where there is no duration."""
    value, unit = quantity
    reading: dict[str, Any] = {"channel": channel, "at": at.isoformat()}
    reading |= {"duration_s": duration_s} if duration_s else {"kind": "register"}
    if unit:
        reading["unit"] = unit
    if quality != "N":
        reading["value"] = _number(value, line)
    return {**reading, "quality": quality}


def _quality(method: str, line: int, *, varying: bool = False) -> str:
    letter = method[:1]
    if letter in _QUALITIES or (varying and letter == _VARYING):
        return letter
    raise LineInvalid(f"line {line}: quality {method!r} is not known")


def _number(text: str, line: int) -> str:
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise LineInvalid(f"line {line}: {text!r} is not a number") from error
    if not value.is_finite():
        raise LineInvalid(f"line {line}: {text!r} is not a number")
    return f"{value:f}"


def _moment(text: str, form: str, line: int) -> datetime:
    try:
        return datetime.strptime(text, form).replace(tzinfo=MARKET_TIME)
    except ValueError as error:
        raise LineInvalid(f"line {line}: {text!r} is not a date or time") from error
