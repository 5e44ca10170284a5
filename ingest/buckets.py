"""Local hours, days and months: where they begin and end, whatever the clocks do."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_HOUR = timedelta(hours=1)
_INSTANT = timedelta(microseconds=1)

#: `[start, end)`, in UTC.
Bucket = tuple[datetime, datetime]


def day_start(day: date, zone: ZoneInfo) -> datetime:
    """Return the instant at which a local day begins (SQL: `ingest_day_start`)."""
    return datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)


def local_days(from_at: datetime, to_at: datetime, zone: ZoneInfo) -> tuple[date, date]:
    """Return the first local day that the period touches, and the first one after."""
    first = from_at.astimezone(zone).date()
    last = (to_at - _INSTANT).astimezone(zone).date()
    return first, last + timedelta(days=1)


def hours(from_at: datetime, to_at: datetime, zone: ZoneInfo) -> Iterator[Bucket]:
    """Yield the local hours that the period touches."""
    first, after = local_days(from_at, to_at, zone)
    day = first
    while day < after:
        start, end = day_start(day, zone), day_start(day + timedelta(days=1), zone)
        while start < end:
            until = min(start + _HOUR, end)
            if until > from_at and start < to_at:
                yield start, until
            start = until
        day += timedelta(days=1)


def month_of(day: date) -> date:
    """Return the first day of the day's month."""
    return day.replace(day=1)


def next_month(day: date) -> date:
    """Return the first day of the month after the day's."""
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
