"""Partitions: months of readings, days of raw bodies."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from django.conf import settings

from ingest.buckets import next_month
from tenants.database import pipeline

#: Days of bodies that exist ahead of time.
DAYS_AHEAD = 7
_MAKE = "SELECT ingest_make_partition(%s, %s, %s, %s)"

#: Months of readings that are kept beyond their retention: a correction of the first
#: day that is kept still finds what was measured before it.
SPARE_MONTHS = 1

#: Months that this process has seen or made. What another process drops is asked for
#: no more: its readings are refused since a month.
_known_months: set[tuple[int, int]] = set()


def ensure_months(months: Iterable[tuple[int, int]]) -> None:
    """
    Make the readings' partitions for these UTC months, in a transaction of their own.

    Attaching one takes a lock that inserting workers do not mind, but it is not held
    for the length of a batch.
    """
    unknown = sorted(set(months) - _known_months)
    if not unknown:
        return
    with pipeline() as lane:
        for year, month in unknown:
            start = datetime(year, month, 1, tzinfo=UTC)
            end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
            lane.execute(_MAKE, ["ingest_reading", f"{start:%Y%m}", start, end])
    _known_months.update(unknown)


def ensure_partitions(now: datetime) -> None:
    """Make this month's and the next one's readings, and the coming days' bodies."""
    today = now.astimezone(UTC).date()
    ensure_months({(day.year, day.month) for day in (today, next_month(today))})
    with pipeline() as lane:
        for ahead in range(DAYS_AHEAD + 1):
            day = today + timedelta(days=ahead)
            start = datetime(day.year, day.month, day.day, tzinfo=UTC)
            end = start + timedelta(days=1)
            lane.execute(_MAKE, ["ingest_callbackbody", f"{day:%Y%m%d}", start, end])


def readings_kept_from(now: datetime) -> datetime | None:
    """Return the start of the first month whose readings are kept; None: of all."""
    months = settings.READING_RETENTION_MONTHS
    return _month_start(now, months) if months else None


def drop_old_readings(now: datetime) -> int:
    """
    Drop the months of readings that are past their retention; return how many.

    None while they are in use, as with bodies. Usage and superseded values stay.
    """
    months = settings.READING_RETENTION_MONTHS
    if not months:
        return 0
    first_kept = _month_start(now, months + SPARE_MONTHS).date()
    with pipeline() as lane:
        row = lane.execute(
            "SELECT ingest_drop_readings_before(%s)", [first_kept]
        ).fetchone()
    _known_months.difference_update(
        [month for month in _known_months if date(*month, 1) < first_kept]
    )
    return int(row[0]) if row else 0


def _month_start(now: datetime, months_ago: int) -> datetime:
    today = now.astimezone(UTC)
    months = today.year * 12 + today.month - 1 - months_ago
    return datetime(max(months // 12, 1), months % 12 + 1, 1, tzinfo=UTC)


def drop_old_bodies(now: datetime) -> int:
    """
    Drop the days of raw bodies that are past their retention; return how many.

    None while they are in use: the next time is soon enough. Those that came without a
    partition of their day are deleted.
    """
    first_kept = now.astimezone(UTC).date() - timedelta(
        days=settings.BODY_RETENTION_DAYS
    )
    with pipeline() as lane:
        row = lane.execute(
            "SELECT ingest_drop_bodies_before(%s)", [first_kept]
        ).fetchone()
    # In another transaction: the lock on all bodies ended with the first.
    with pipeline() as lane:
        lane.execute(
            "DELETE FROM ingest_callbackbody_rest WHERE received_at < %s",
            [datetime(*first_kept.timetuple()[:3], tzinfo=UTC)],
        )
    return int(row[0]) if row else 0
