"""The length of a local day: 23, 24 or 25 hours, and the zone says which."""

from datetime import date, timedelta
from zoneinfo import ZoneInfo

from ingest.buckets import day_start


def day_length_s(zone: ZoneInfo, day: date) -> int:
    """Return the seconds in the local day."""
    length = day_start(day + timedelta(days=1), zone) - day_start(day, zone)
    return int(length.total_seconds())
