"""Local days as spans of time: 23, 24 or 25 hours long, and the zone says which."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo


def midnight(zone: ZoneInfo, day: date) -> datetime:
    """Return the instant, in UTC, at which the local day begins."""
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)


def day_length_s(zone: ZoneInfo, day: date) -> int:
    """Return the seconds in the local day."""
    length = midnight(zone, day + timedelta(days=1)) - midnight(zone, day)
    return int(length.total_seconds())
