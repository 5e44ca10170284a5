"""Storing readings: what is new, what says the same, what corrects."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from psycopg import Connection

from ingest.formats.parsed import Parsed, ParsedReading
from ingest.processing.arrays import array
from ingest.processing.directory import ChannelId, Directory, KnownChannel
from ingest.processing.work import Outcome
from ingest.units import to_stored, unit_of

_MISMATCH = "unit: another dimension than the channel's stored unit."
_UNIT_MISSING = "unit: the channel has none yet."
_UNKNOWN_DEVICE = "device: not known to this platform, or quarantined."
_NOT_SIGNED = "device: another than the one whose key signed the body."

#: Offers every reading, the first of equal keys alone, and marks the local days that
#: the new intervals touch. Returns the places of those that were not new. Sorted, so
#: that two workers never wait for each other in a circle.
_OFFER = """
WITH offered AS (
    SELECT k.*, (%(tenants)s::bigint[])[k.owner] AS tenant_id,
        (%(callbacks)s::uuid[])[k.owner] AS callback_id,
        row_number() OVER (PARTITION BY channel_id, start_at ORDER BY place) AS turn
    FROM unnest(%(owners)s::int[], %(channels)s::bigint[], %(starts)s::timestamptz[],
            %(values)s::numeric[], %(durations)s::int[], %(qualities)s::"char"[])
        WITH ORDINALITY
        AS k (owner, channel_id, start_at, value, duration_s, quality, place)
), kept AS (
    INSERT INTO ingest_reading
        (tenant_id, channel_id, start_at, value, duration_s, quality, callback_id)
    SELECT tenant_id, channel_id, start_at, value, duration_s, quality, callback_id
    FROM offered WHERE turn = 1 ORDER BY tenant_id, channel_id, start_at
    ON CONFLICT DO NOTHING
    RETURNING tenant_id, channel_id, start_at, duration_s
), touched AS (
    SELECT DISTINCT k.tenant_id, k.channel_id,
        (k.start_at AT TIME ZONE t.timezone)::date AS first_day,
        ((k.start_at + k.duration_s * interval '1 second' - interval '1 microsecond')
            AT TIME ZONE t.timezone)::date AS last_day
    FROM kept k JOIN tenants_tenant t ON t.id = k.tenant_id WHERE k.duration_s > 0
), marks AS (
    INSERT INTO ingest_usagemark (tenant_id, channel_id, day)
    SELECT DISTINCT tenant_id, channel_id, first_day + n
    FROM touched CROSS JOIN LATERAL generate_series(0, last_day - first_day) AS n
)
SELECT o.place - 1 FROM offered o LEFT JOIN kept k USING (channel_id, start_at)
WHERE o.turn > 1 OR k.channel_id IS NULL
ORDER BY o.place
"""


class Offer(NamedTuple):
    """A reading on its way into the table, in the stored unit."""

    #: Its callback's place in the batch.
    owner: int
    channel_id: int
    start_at: datetime
    value: Decimal | None
    duration_s: int
    quality: str
    #: What it was parsed from, and the stored unit.
    parsed: ParsedReading
    unit: str


@dataclass(slots=True)
class Offers:
    """A batch's readings, judged against their channels."""

    outcomes: Sequence[Outcome]
    directory: Directory
    rows: list[Offer] = field(default_factory=list)
    _units: dict[ChannelId, str] = field(default_factory=dict)
    _longest: dict[ChannelId, int] = field(default_factory=dict)

    def collect(self) -> None:
        """Judge all readings; the refused ones go to their receipts."""
        find = self.directory.find
        for owner, outcome in enumerate(self.outcomes, start=1):
            tenant_id = outcome.claim.tenant_id
            before = len(self.rows)
            for reading in outcome.parsed.readings:
                channel = find((tenant_id, reading[1], reading[2], reading[3]))
                if channel is None:
                    outcome.refuse(reading[0], "device_unknown", _UNKNOWN_DEVICE)
                else:
                    self._judge(owner, outcome, reading, channel)
            outcome.stored = len(self.rows) - before
        self.directory.learn(self._units, self._longest)

    def _judge(
        self,
        owner: int,
        outcome: Outcome,
        reading: ParsedReading,
        channel: KnownChannel,
    ) -> None:
        index, _, _, _, start_at, duration_s, value, unit_name, quality = reading
        if unit_name:
            unit = unit_of(unit_name)
            if unit.stored != channel.unit:
                if channel.unit:
                    outcome.refuse(index, "unit_mismatch", _MISMATCH)
                    return
                channel.unit = unit.stored
                self._units[outcome.claim.tenant_id, channel.id] = unit.stored
            if value is not None and unit.factor is not None:
                value = to_stored(value, unit)
        elif value is not None and not channel.unit:
            outcome.refuse(index, "unit_missing", _UNIT_MISSING)
            return
        if duration_s > channel.longest_s:
            channel.longest_s = duration_s
            self._longest[outcome.claim.tenant_id, channel.id] = duration_s
        judged = (channel.id, start_at, value, duration_s, quality)
        self.rows.append(Offer(owner, *judged, reading, channel.unit))

    def insert(self, lane: Connection[Any]) -> list[Offer]:
        """Store what is new; return the others, in their order."""
        if not self.rows:
            return []
        owners, channels, starts, values, durations, qualities, _, _ = zip(
            *self.rows, strict=True
        )
        claims = [outcome.claim for outcome in self.outcomes]
        cursor = lane.execute(
            _OFFER,
            {
                "tenants": [claim.tenant_id for claim in claims],
                "callbacks": [claim.id for claim in claims],
                "owners": array(owners),
                "channels": array(channels),
                "starts": array(starts),
                "values": array(values),
                "durations": array(durations),
                "qualities": array(qualities),
            },
            binary=True,
        )
        left = [self.rows[place] for (place,) in cursor.fetchall()]
        for offer in left:
            self.outcomes[offer.owner - 1].stored -= 1
        return left


def keep_signed(parsed: Parsed, device: str) -> None:
    """Refuse the readings of every device but the one that signed."""
    others = [reading[0] for reading in parsed.readings if reading[1] != device]
    for index in others:
        parsed.refuse(index, "device_not_signed", _NOT_SIGNED)
    if others:
        parsed.readings[:] = [one for one in parsed.readings if one[1] == device]
