"""
Readings for an interval that has a value already.

What says the same changes nothing, except that the value counts as said by the newest
callback that said it. A missing mark never replaces a value. A reading of
an older callback than the one in force goes to the history alone. Anything else
supersedes: the old value moves to the history, with when it was known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from psycopg import Connection

from ingest.processing.arrays import columns
from ingest.processing.progress import MOST_LISTED
from ingest.processing.readings import Offer
from ingest.processing.work import Outcome
from ingest.receipts import instant
from ingest.units import plain
from tenants.identifiers import created_at

_Key = tuple[int, int, datetime]

#: The bounds on start_at let Postgres leave other months' partitions alone.
_IN_FORCE = """
SELECT r.tenant_id, r.channel_id, r.start_at, r.value, r.duration_s, r.quality::text,
    r.callback_id, r.confirmed_by
FROM unnest(%s::bigint[], %s::bigint[], %s::timestamptz[])
    AS k (tenant_id, channel_id, start_at)
JOIN ingest_reading r ON r.tenant_id = k.tenant_id AND r.channel_id = k.channel_id
    AND r.start_at = k.start_at
WHERE r.start_at BETWEEN %s AND %s
ORDER BY r.tenant_id, r.channel_id, r.start_at
FOR UPDATE OF r
"""

#: A value is known from its callback's receipt, or from when the one before it ended.
_REMEMBER = """
INSERT INTO ingest_readingrevision (tenant_id, channel_id, start_at, value, duration_s,
    quality, callback_id, known_from, known_to)
SELECT k.tenant_id, k.channel_id, k.start_at, k.value, k.duration_s, k.quality::"char",
    k.callback_id, greatest(k.known_from, (
        SELECT max(v.known_to) FROM ingest_readingrevision v
        WHERE v.tenant_id = k.tenant_id AND v.channel_id = k.channel_id
            AND v.start_at = k.start_at)),
    %s
FROM unnest(%s::bigint[], %s::bigint[], %s::timestamptz[], %s::numeric[], %s::int[],
    %s::text[], %s::uuid[], %s::timestamptz[])
    AS k (tenant_id, channel_id, start_at, value, duration_s, quality, callback_id,
          known_from)
"""

_SUPERSEDE = """
UPDATE ingest_reading r
SET value = k.value, duration_s = k.duration_s, quality = k.quality::"char",
    callback_id = k.callback_id, confirmed_by = k.confirmed_by
FROM unnest(%s::bigint[], %s::bigint[], %s::timestamptz[], %s::numeric[], %s::int[],
    %s::text[], %s::uuid[], %s::uuid[])
    AS k (tenant_id, channel_id, start_at, value, duration_s, quality, callback_id,
          confirmed_by)
WHERE r.tenant_id = k.tenant_id AND r.channel_id = k.channel_id
    AND r.start_at = k.start_at AND r.start_at BETWEEN %s AND %s
"""


@dataclass(slots=True)
class _Version:
    """A value of one interval."""

    value: Decimal | None
    duration_s: int
    quality: str
    callback_id: UUID
    #: The newest callback that said the same again.
    confirmed_by: UUID | None = None

    @property
    def said_by(self) -> UUID:
        """The newest callback that stands for it."""
        return self.confirmed_by or self.callback_id

    def says_the_same(self, other: "_Version") -> bool:
        return (self.value, self.duration_s, self.quality) == (
            other.value,
            other.duration_s,
            other.quality,
        )


@dataclass(slots=True)
class _Series:
    """The versions that a batch met of one interval; the last one is in force."""

    current: _Version
    revisions: list[tuple[_Version, datetime]] = field(default_factory=list)
    #: When the current version was known first.
    known_from: datetime | None = None
    is_changed: bool = False

    def take(self, new: _Version, now: datetime) -> bool:
        """Take a version in; return whether it superseded the one in force."""
        old = self.current
        if new.says_the_same(old):
            self._confirm(new.callback_id)
            return False
        if new.value is None and old.value is not None:
            return False
        if new.callback_id < old.said_by and old.value is not None:
            # Never in force: its period is empty.
            self.revisions.append((new, now))
            return False
        known_from = self.known_from or created_at(old.callback_id)
        self.revisions.append((old, min(known_from, now)))
        self.current, self.known_from, self.is_changed = new, now, True
        return True

    def _confirm(self, callback_id: UUID) -> None:
        if callback_id > self.current.said_by:
            self.current.confirmed_by = callback_id
            self.is_changed = True


@dataclass(slots=True)
class Corrections:
    """The corrections of one batch."""

    outcomes: Sequence[Outcome]
    now: datetime
    #: tenant, channel, start_at, duration_s of every value that came or went.
    touched: list[tuple[int, int, datetime, int]] = field(default_factory=list)
    _series: dict[_Key, _Series] = field(default_factory=dict)

    def apply(self, lane: Connection[Any], offers: Sequence[Offer]) -> None:
        """Judge the readings against those in force, in order, and write the result."""
        if not offers:
            return
        self._load(lane, offers)
        for offer in offers:
            self._take(offer)
        self._write_revisions(lane)
        self._write_readings(lane)

    def _key(self, offer: Offer) -> _Key:
        tenant_id = self.outcomes[offer.owner - 1].claim.tenant_id
        return tenant_id, offer.channel_id, offer.start_at

    def _load(self, lane: Connection[Any], offers: Sequence[Offer]) -> None:
        keys = sorted({self._key(offer) for offer in offers})
        found = lane.execute(
            _IN_FORCE, [*columns(keys), *_bounds(keys)], binary=True
        ).fetchall()
        for row in found:
            self._series[row[0], row[1], row[2]] = _Series(_Version(*row[3:]))

    def _take(self, offer: Offer) -> None:
        outcome = self.outcomes[offer.owner - 1]
        key = self._key(offer)
        series = self._series[key]
        old = series.current
        new = _Version(offer.value, offer.duration_s, offer.quality, outcome.claim.id)
        if not series.take(new, self.now):
            outcome.unchanged += 1
            return
        outcome.corrected += 1
        self.touched += [(*key, old.duration_s), (*key, new.duration_s)]
        if len(outcome.corrections) < MOST_LISTED:
            outcome.corrections.append(_correction(offer, old))

    def _write_revisions(self, lane: Connection[Any]) -> None:
        rows = [
            (*key, old.value, old.duration_s, old.quality, old.callback_id, known_from)
            for key, series in self._series.items()
            for old, known_from in series.revisions
        ]
        if rows:
            lane.execute(_REMEMBER, [self.now, *columns(rows)])

    def _write_readings(self, lane: Connection[Any]) -> None:
        changed = {
            key: series.current
            for key, series in self._series.items()
            if series.is_changed
        }
        if not changed:
            return
        rows = [
            (
                *key,
                new.value,
                new.duration_s,
                new.quality,
                new.callback_id,
                new.confirmed_by,
            )
            for key, new in changed.items()
        ]
        lane.execute(_SUPERSEDE, [*columns(rows), *_bounds(list(changed))])


def _correction(offer: Offer, old: _Version) -> dict[str, Any]:
    _, device, channel, kind, start_at, _, _, _, _ = offer.parsed
    return {
        "device": device,
        "channel": channel,
        "kind": kind,
        "start_at": instant(start_at),
        "end_at": instant(start_at + timedelta(seconds=offer.duration_s)),
        "unit": offer.unit,
        "old_value": None if old.value is None else plain(old.value),
        "old_quality": old.quality,
        "new_value": None if offer.value is None else plain(offer.value),
        "quality": offer.quality,
    }


def _bounds(keys: Sequence[_Key]) -> tuple[datetime, datetime]:
    starts = [key[2] for key in keys]
    return min(starts), max(starts)
