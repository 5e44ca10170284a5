"""
Manifests: what a local day had for an endpoint, so that its subscriber can check it.

A day is told once it is over, by the database's clock and the tenant's zone; what
belongs to it then never changes, for a message belongs to the day in which it was
published. Ids and devices are read in pages, so no statement is long, whatever the day
had; the manifest and its message are written together.
Source: docs/how-to/prove-nothing-is-missing.md
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from time import monotonic
from typing import Any
from uuid import UUID

from subscriptions.queries.redeliveries import CLOCK_MARGIN
from subscriptions.services.publishing import Event, publish
from subscriptions.services.walks import DEVICES
from tenants.database import Cursor, join_by_index, pipeline
from tenants.doorbell import ring
from tenants.identifiers import first_id, new_id, public_id

#: Seconds after a day's end for which what was published in it may still commit.
GRACE_S = 300
#: Days that are caught up with at most.
CATCH_UP_DAYS = 7
#: Devices that a manifest lists; it counts all.
DEVICES_LISTED = 1_000
#: Messages, or devices, that one statement reads.
PAGE = 20_000
DEVICE_PAGE = 500
#: Seconds after which a turn makes room for others.
TURN_S = 5.0

# Both ends by one expression, so that days meet whatever their clocks are set to; and
# a day is over at its end, not at the first midnight of two (in the Azores, when
# summer time ends).
_DUE = """
SELECT e.tenant_id, e.id, t.slug, t.timezone, due.day,
    due.day::timestamp AT TIME ZONE t.timezone,
    (due.day + 1)::timestamp AT TIME ZONE t.timezone
FROM subscriptions_endpoint e
JOIN tenants_tenant t ON t.id = e.tenant_id,
LATERAL (SELECT ((now() - %(grace_s)s * interval '1 s')
    AT TIME ZONE t.timezone)::date - 1 AS day) latest,
LATERAL (SELECT greatest(coalesce(e.manifest_until + 1, latest.day),
    latest.day - %(catch_up)s::int + 1) AS day) due
WHERE e.has_manifest AND e.deleted_at IS NULL
    AND (due.day + 1)::timestamp AT TIME ZONE t.timezone
        <= now() - %(grace_s)s * interval '1 s'
    AND e.created_at < (due.day + 1)::timestamp AT TIME ZONE t.timezone
ORDER BY due.day, e.id LIMIT 1
"""

# By index delivery_once: ids are in time order, by the workers' clocks.
_IDS = """
SELECT message_id, created_at >= %(start)s AND created_at < %(end)s
FROM subscriptions_delivery
WHERE tenant_id = %(tenant)s AND endpoint_id = %(endpoint)s
    AND message_id > %(after)s AND message_id < %(last)s
ORDER BY message_id LIMIT %(page)s
"""

# The day's messages of each device by the key of messagedevice, and whether they were
# this endpoint's by index delivery_once.
_DEVICES = f"""{DEVICES}
SELECT one.device, mine.ids
FROM (SELECT device FROM device LIMIT %(page)s) one
CROSS JOIN LATERAL (
    SELECT array_agg(m.message_id ORDER BY m.message_id) AS ids
    FROM subscriptions_messagedevice m
    JOIN subscriptions_delivery d ON d.tenant_id = m.tenant_id
        AND d.endpoint_id = %(endpoint)s AND d.message_id = m.message_id
    WHERE m.tenant_id = %(tenant)s AND m.device = one.device
        AND m.message_id > %(first)s AND m.message_id < %(last)s
        AND d.created_at >= %(start)s AND d.created_at < %(end)s) mine
"""  # noqa: S608 (own text)


@dataclass(frozen=True)
class _Day:
    """A day of an endpoint that is to be told of."""

    tenant_id: int
    endpoint_id: UUID
    slug: str
    zone: str
    day: date
    start_at: datetime
    end_at: datetime

    def values(self) -> dict[str, Any]:
        """Return what the reading statements ask for."""
        return {
            "tenant": self.tenant_id,
            "endpoint": self.endpoint_id,
            "start": self.start_at,
            "end": self.end_at,
            "first": first_id(self.start_at - CLOCK_MARGIN),
            "last": first_id(self.end_at + CLOCK_MARGIN),
        }


class IdsHash:
    """The SHA-256 of ids, sorted, with a line feed between them."""

    def __init__(self) -> None:
        self.count = 0
        self._sha = hashlib.sha256()

    def add(self, message_id: UUID) -> None:
        """Add the next id; they come in order."""
        between = "\n" if self.count else ""
        self._sha.update(f"{between}{public_id('msg', message_id)}".encode())
        self.count += 1

    def hexdigest(self) -> str:
        """Return the hash so far."""
        return self._sha.hexdigest()


@dataclass
class _Contents:
    """What the day had."""

    ids: IdsHash = field(default_factory=IdsHash)
    device_count: int = 0
    devices: list[dict[str, Any]] = field(default_factory=list)

    def add_device(self, device: str, ids: list[UUID]) -> None:
        """Count a device, and list it if there is room."""
        self.device_count += 1
        if len(self.devices) < DEVICES_LISTED:
            mine = IdsHash()
            for message_id in ids:
                mine.add(message_id)
            self.devices.append(
                {"device": device, "messages": mine.count, "ids_hash": mine.hexdigest()}
            )


def send_manifests() -> bool:
    """
    Publish the manifests that are due, each to its endpoint alone.

    Returns whether the turn ended before the work did.
    """
    end_s = monotonic() + TURN_S
    published = 0
    while (day := _due()) is not None:
        published += _publish(day, _contents(day))
        if monotonic() > end_s:
            break
    if published:
        ring("subscriptions.deliver")
    return day is not None


def _due() -> _Day | None:
    with pipeline() as lane:
        row = lane.execute(
            _DUE, {"grace_s": GRACE_S, "catch_up": CATCH_UP_DAYS}
        ).fetchone()
    return _Day(*row) if row else None


def _contents(day: _Day) -> _Contents:
    contents = _Contents()
    for message_id in _ids(day):
        contents.ids.add(message_id)
    for device, ids in _devices(day):
        contents.add_device(device, ids)
    return contents


def _ids(day: _Day) -> Iterator[UUID]:
    """Yield the day's messages in the order of their ids."""
    values = day.values()
    after = values["first"]
    while after is not None:
        with pipeline() as lane:
            rows = lane.execute(
                _IDS, {**values, "after": after, "page": PAGE}
            ).fetchall()
        yield from (message_id for message_id, is_of_day in rows if is_of_day)
        after = rows[-1][0] if len(rows) == PAGE else None


def _devices(day: _Day) -> Iterator[tuple[str, list[UUID]]]:
    """Yield the devices that the day's messages are about, with these messages."""
    values = day.values()
    after: str | None = ""
    while after is not None:
        with pipeline() as lane, lane.cursor() as cursor:
            join_by_index(cursor)
            cursor.execute(_DEVICES, {**values, "after": after, "page": DEVICE_PAGE})
            rows = cursor.fetchall()
        yield from ((device, ids) for device, ids in rows if ids)
        after = rows[-1][0] if len(rows) == DEVICE_PAGE else None


def _publish(day: _Day, contents: _Contents) -> int:
    """Write the manifest down and tell of it, unless another worker was first."""
    with pipeline() as lane, lane.cursor() as cursor:
        # The endpoint before its deliveries, as whoever records results does.
        cursor.execute(
            """UPDATE subscriptions_endpoint SET manifest_until = %(day)s
            WHERE id = %(endpoint)s AND tenant_id = %(tenant)s
                AND has_manifest AND deleted_at IS NULL
                AND (manifest_until IS NULL OR manifest_until < %(day)s)
            RETURNING now()""",
            {"day": day.day, "endpoint": day.endpoint_id, "tenant": day.tenant_id},
        )
        row = cursor.fetchone()
        if row is None:
            return 0
        _write(cursor, day, contents)
        return publish(cursor, [_event(day, contents, row[0])])


def _write(cursor: Cursor, day: _Day, contents: _Contents) -> None:
    cursor.execute(
        """INSERT INTO subscriptions_manifest (id, tenant_id, endpoint_id, day_date,
            start_at, end_at, messages, ids_hash)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT ON CONSTRAINT manifest_once_a_day DO NOTHING""",
        [
            new_id(),
            day.tenant_id,
            day.endpoint_id,
            day.day,
            day.start_at,
            day.end_at,
            contents.ids.count,
            contents.ids.hexdigest(),
        ],
    )


def _event(day: _Day, contents: _Contents, now: datetime) -> Event:
    return Event(
        tenant_id=day.tenant_id,
        tenant_slug=day.slug,
        event_type="delivery.manifest",
        data={
            "endpoint": public_id("ep", day.endpoint_id),
            "day": day.day,
            "zone": day.zone,
            "start_at": day.start_at.astimezone(UTC),
            "end_at": day.end_at.astimezone(UTC),
            "messages": contents.ids.count,
            "ids_hash": contents.ids.hexdigest(),
            "device_count": contents.device_count,
            "devices": contents.devices,
        },
        occurred_at=now,
        endpoint_id=day.endpoint_id,
    )
