"""Finding the channel of each reading, and registering what is new."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from psycopg import Connection

from ingest.models import DeviceStatus
from ingest.obis import commodity_of
from ingest.processing.work import Claim, NewDevice, Outcome
from ingest.units import unit_of
from tenants.database import columns

#: Seconds after which a device that an admin quarantines is refused at the latest.
TRUST_S = 10
#: Channels that a worker remembers at most.
MOST_KNOWN = 200_000

#: tenant, device, code, kind.
Key = tuple[int, str, str, str]
#: tenant, channel.
ChannelId = tuple[int, int]


#: In the order given, which is sorted: two workers that register the same devices never
#: wait for each other in a circle.
_REGISTER = """
INSERT INTO ingest_device (tenant_id, name, status, source_id)
SELECT k.tenant_id, k.name, k.status, s.id
FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::uuid[])
    WITH ORDINALITY AS k (tenant_id, name, status, source_id, place)
LEFT JOIN ingest_source s ON s.tenant_id = k.tenant_id AND s.id = k.source_id
ORDER BY place
ON CONFLICT (tenant_id, name) DO NOTHING
RETURNING tenant_id, name, status
"""


class ChannelChanged(Exception):
    """Another worker gave the channel its unit meanwhile; the batch is tried again."""


@dataclass(slots=True)
class KnownChannel:
    """Where a reading goes."""

    id: int
    #: The stored unit; empty until a reading names one.
    unit: str
    longest_s: int
    commodity: str


class Memory:
    """The channels of active devices, as committed, for a short while."""

    def __init__(self) -> None:
        self.forget()

    def refresh(self) -> None:
        """Forget everything when it is old, or too much."""
        if monotonic() - self._since > TRUST_S or len(self.channels) > MOST_KNOWN:
            self.forget()

    def forget(self) -> None:
        """
        Forget everything.

        In a new dictionary: a batch under way in another thread goes on with its own.
        """
        self.channels: dict[Key, KnownChannel] = {}
        #: The ids of those among them whose silence is news.
        self.watched: set[int] = set()
        self._since = monotonic()

    def keep(self, fresh: dict[Key, KnownChannel]) -> None:
        """Remember channels that are committed; one without a unit may change."""
        self.channels.update({key: known for key, known in fresh.items() if known.unit})


@dataclass(slots=True)
class _Wanted:
    """A channel that is not remembered, and how its first readings describe it."""

    claim: Claim
    unit: str = ""
    longest_s: int = 0


@dataclass(slots=True)
class Directory:
    """What one attempt at a batch knows and makes known."""

    lane: Connection[Any]
    #: What the memory held when the attempt began.
    known: dict[Key, KnownChannel]
    #: The ids of known channels whose silence is news.
    watched: set[int]
    fresh: dict[Key, KnownChannel] = field(default_factory=dict)
    new_devices: list[NewDevice] = field(default_factory=list)
    _wanted: dict[Key, _Wanted] = field(default_factory=dict)

    def find(self, key: Key) -> KnownChannel | None:
        """Return the reading's channel; None: its device is quarantined."""
        return self.known.get(key) or self.fresh.get(key)

    def load(self, outcomes: Iterable[Outcome]) -> None:
        """Find the channels of all readings; make the unknown ones."""
        self._collect(outcomes)
        if not self._wanted:
            return
        devices = self._devices()
        self._load_channels(devices)
        missing = {
            key: wanted
            for key, wanted in self._wanted.items()
            if key not in self.fresh and key[:2] in devices
        }
        if missing:
            self._insert_channels(missing, devices)
            self._load_channels(devices)

    def _collect(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            tenant_id = outcome.claim.tenant_id
            for reading in outcome.parsed.readings:
                key = (tenant_id, reading[1], reading[2], reading[3])
                if key in self.known:
                    continue
                wanted = self._wanted.get(key)
                if wanted is None:
                    wanted = self._wanted[key] = _Wanted(outcome.claim)
                wanted.unit = wanted.unit or reading[7]
                wanted.longest_s = max(wanted.longest_s, reading[5])

    def _devices(self) -> dict[tuple[int, str], int]:
        """Return the active devices' ids, the new ones' among them."""
        claims = {key[:2]: wanted.claim for key, wanted in self._wanted.items()}
        found = self._select_devices(claims)
        missing = sorted(claims.keys() - found.keys())
        if missing:
            self._insert_devices(missing, claims)
            found = self._select_devices(claims)
        return {
            name: device_id
            for name, (device_id, status) in found.items()
            if status == DeviceStatus.ACTIVE
        }

    def _select_devices(
        self, names: Iterable[tuple[int, str]]
    ) -> dict[tuple[int, str], tuple[int, str]]:
        rows = self.lane.execute(
            """SELECT d.tenant_id, d.name, d.id, d.status
            FROM unnest(%s::bigint[], %s::text[]) AS k (tenant_id, name)
            JOIN ingest_device d ON d.tenant_id = k.tenant_id
                AND d.name = k.name COLLATE "C" """,
            columns(list(names)),
        ).fetchall()
        return {(row[0], row[1]): (row[2], row[3]) for row in rows}

    def _insert_devices(
        self,
        names: Sequence[tuple[int, str]],
        claims: dict[tuple[int, str], Claim],
    ) -> None:
        rows = [
            (
                *name,
                DeviceStatus.ACTIVE.value
                if claims[name].registers_devices
                else DeviceStatus.QUARANTINED.value,
                claims[name].source_id,
            )
            for name in names
        ]
        made = self.lane.execute(_REGISTER, columns(rows)).fetchall()
        self.new_devices += [
            NewDevice(claims[row[0], row[1]], row[1], row[2]) for row in made
        ]

    def _load_channels(self, devices: dict[tuple[int, str], int]) -> None:
        wanted = [
            (key[0], devices[key[:2]], *key[1:])
            for key in self._wanted
            if key not in self.fresh and key[:2] in devices
        ]
        if not wanted:
            return
        rows = self.lane.execute(
            """SELECT k.tenant_id, k.device, k.code, k.kind, c.id, c.unit, c.longest_s,
                c.commodity, c.expected_interval_s IS NOT NULL
            FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::text[])
                AS k (tenant_id, device_id, device, code, kind)
            JOIN ingest_channel c ON c.tenant_id = k.tenant_id
                AND c.device_id = k.device_id AND c.code = k.code COLLATE "C"
                AND c.kind = k.kind""",
            columns(wanted),
        ).fetchall()
        for row in rows:
            self.fresh[row[0], row[1], row[2], row[3]] = KnownChannel(*row[4:8])
            if row[8]:
                self.watched.add(row[4])

    def _insert_channels(
        self, missing: dict[Key, _Wanted], devices: dict[tuple[int, str], int]
    ) -> None:
        rows = sorted(
            (
                key[0],
                devices[key[:2]],
                key[2],
                key[3],
                commodity_of(key[2]),
                unit_of(wanted.unit).stored,
                wanted.longest_s,
            )
            for key, wanted in missing.items()
        )
        self.lane.execute(
            """INSERT INTO ingest_channel
                (tenant_id, device_id, code, kind, commodity, unit, longest_s)
            SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::text[],
                %s::text[], %s::text[], %s::int[])
            ON CONFLICT (tenant_id, device_id, code, kind) DO NOTHING""",
            columns(rows),
        )

    def learn(self, units: dict[ChannelId, str], longest: dict[ChannelId, int]) -> None:
        """
        Write down the units and lengths that this batch's readings taught.

        Raises: ChannelChanged.
        """
        if units:
            cursor = self.lane.execute(
                """UPDATE ingest_channel c SET unit = k.unit
                FROM unnest(%s::bigint[], %s::bigint[], %s::text[])
                    AS k (tenant_id, id, unit)
                WHERE c.tenant_id = k.tenant_id AND c.id = k.id AND c.unit = ''""",
                columns([(*key, unit) for key, unit in sorted(units.items())]),
            )
            if cursor.rowcount != len(units):
                raise ChannelChanged
        if longest:
            self.lane.execute(
                """UPDATE ingest_channel c
                SET longest_s = greatest(c.longest_s, k.longest_s)
                FROM unnest(%s::bigint[], %s::bigint[], %s::int[])
                    AS k (tenant_id, id, longest_s)
                WHERE c.tenant_id = k.tenant_id AND c.id = k.id""",
                columns([(*key, length) for key, length in sorted(longest.items())]),
            )
