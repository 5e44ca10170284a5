"""
The judge of a client's ledger (`tests.posting`): what was promised, and what is there.

A callback was acknowledged when a 202 or 200 came back whole, rejected by any other
answer below 500, and is undecided otherwise.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from uuid import UUID

from tenants.identifiers import parse_public_id, public_id
from tests.posting import READINGS_EACH, SERVER_ERROR
from tests.processes import Platform, Source

#: Counts of a verdict that may be anything.
_HARMLESS = ("acknowledged", "undecided", "stored")


@dataclass(frozen=True)
class Verdict:
    """What the judge found; every count after `stored` must be 0."""

    acknowledged: int
    undecided: int
    stored: int
    lost: int
    doubled: int
    phantom: int
    rejected_but_stored: int
    other_bytes: int
    #: Callbacks acknowledged under a receipt that is not the stored one.
    other_receipt: int
    unprocessed: int
    wrong_effect: int
    wrong_usage: int

    @property
    def faults(self) -> dict[str, int]:
        """The counts that must be 0 and are not."""
        counts = {field.name: getattr(self, field.name) for field in fields(self)}
        return {k: v for k, v in counts.items() if v and k not in _HARMLESS}


@dataclass
class Told:
    """What a ledger says of one callback."""

    sha256: str = ""
    statuses: set[int] = field(default_factory=set)
    receipts: set[str] = field(default_factory=set)

    @property
    def is_acknowledged(self) -> bool:
        """Whether the sender was told that it is stored."""
        return bool({200, 202} & self.statuses)

    @property
    def is_undecided(self) -> bool:
        """Whether the sender cannot know."""
        is_open = any(one == 0 or one >= SERVER_ERROR for one in self.statuses)
        return is_open and not self.is_acknowledged


def judge(platform: Platform, source: Source, ledger: Path) -> Verdict:
    """Compare the ledger with the database."""
    told = read_ledger(ledger)
    rows = _stored(platform, source)
    names = {row[0] for row in rows}
    acknowledged = {name for name, one in told.items() if one.is_acknowledged}
    undecided = {name for name, one in told.items() if one.is_undecided}
    used = _used(platform, source)
    right = (READINGS_EACH, READINGS_EACH, 0)
    return Verdict(
        acknowledged=len(acknowledged),
        undecided=len(undecided),
        stored=len(rows),
        lost=len(acknowledged - names),
        doubled=len(rows) - len(names),
        phantom=len(names - acknowledged - undecided),
        rejected_but_stored=len((told.keys() - acknowledged - undecided) & names),
        other_bytes=sum(not _same_bytes(told.get(row[0]), row) for row in rows),
        other_receipt=_other_receipts(told, rows),
        unprocessed=sum(row[4] != 1 for row in rows),
        wrong_effect=sum(row[5:8] != right for row in rows),
        wrong_usage=int(abs(used - READINGS_EACH * len(rows))),
    )


def _stored(platform: Platform, source: Source) -> list[Any]:
    return platform.rows(
        """
        SELECT c.transaction_id, c.id, encode(c.digest, 'hex'),
            encode(sha256(b.body), 'hex'), c.state,
            (SELECT count(*) FROM ingest_reading r
             WHERE r.tenant_id = c.tenant_id AND r.callback_id = c.id AND r.value = 1),
            c.stored, c.unchanged + c.corrected + c.rejected
        FROM ingest_callback c
        LEFT JOIN ingest_callbackbody b
            ON b.tenant_id = c.tenant_id AND b.callback_id = c.id
        WHERE c.source_id = %s
        """,
        source_id(source),
    )


def _used(platform: Platform, source: Source) -> int:
    ((used,),) = platform.rows(
        """
        SELECT coalesce(sum(u.value), 0) FROM ingest_usage u
        JOIN ingest_channel c ON c.tenant_id = u.tenant_id AND c.id = u.channel_id
        JOIN ingest_device d ON d.tenant_id = c.tenant_id AND d.id = c.device_id
        WHERE d.source_id = %s
        """,
        source_id(source),
    )
    return int(used)


def _same_bytes(told: Told | None, row: Any) -> bool:
    return told is not None and told.sha256 == row[2] == row[3]


def _other_receipts(told: dict[str, Told], rows: list[Any]) -> int:
    found = {row[0]: public_id("rcp", row[1]) for row in rows}
    return sum(
        bool(one.receipts - {found[name]})
        for name, one in told.items()
        if name in found
    )


def source_id(source: Source) -> UUID:
    """Return a source's id as the database has it."""
    return parse_public_id("src", source.public_id)


def waiting(platform: Platform, source: Source) -> int:
    """Return how much of a tenant's work is not done: callbacks, and usage marks."""
    ((left,),) = platform.rows(
        """
        SELECT (SELECT count(*) FROM ingest_pendingcallback p WHERE p.tenant_id = t.id)
            + (SELECT count(*) FROM ingest_usagemark m WHERE m.tenant_id = t.id)
        FROM tenants_tenant t WHERE t.slug = %s
        """,
        source.tenant,
    )
    return int(left)


def entries(ledger: Path) -> list[dict[str, Any]]:
    """Return the ledger's lines, oldest first."""
    return [json.loads(line) for line in ledger.read_text().splitlines()]


def read_ledger(ledger: Path) -> dict[str, Told]:
    """Return what was sent and told, by transaction id."""
    told: dict[str, Told] = defaultdict(Told)
    for entry in entries(ledger):
        one = told[entry["id"]]
        one.sha256 = entry["sha256"]
        one.statuses.add(entry["status"])
        if entry["receipt"]:
            one.receipts.add(entry["receipt"])
    return told
