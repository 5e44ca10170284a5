"""
Fixing the audit trail in stretches, so that whoever changes it later is found out.

The database refuses changes of the trail to every role of the platform. A superuser can
lift that; what he cannot do without the encryption key is to make the seals fit. Each
seal has the hash of every entry of its stretch, and its digest goes over the seal
before it: a changed entry, a missing one and one put in later are named.
Source: docs/explanation/tenancy.md
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from tenants.database import acting_for, pipeline
from tenants.models import AuditEntry, AuditSeal, Tenant
from tenants.vault import SealBroken, seal, unseal

#: An entry's moment is its transaction's begin; no transaction lasts for so long.
SETTLED = timedelta(minutes=10)
#: Entries this much older than the latest seal are looked for, should one be late.
LATE = timedelta(days=1)
#: Entries of one seal at most.
STRETCH = 1_000
_ID_BYTES = 16
_HASH_BYTES = 16


@dataclass(frozen=True)
class Flaw:
    """Something in the trail that is not as it was sealed."""

    #: The entry's id, or which seal.
    what: str
    words: str


def seal_trails(*, now: datetime) -> int:
    """Seal what is settled in every tenant's trail; return how many entries."""
    with pipeline() as lane:
        rows = lane.execute("SELECT id FROM tenants_tenant ORDER BY id").fetchall()
    return sum(seal_trail(tenant_id, now=now) for (tenant_id,) in rows)


def seal_trail(tenant_id: int, *, now: datetime) -> int:
    """Seal what is settled of one tenant's trail; return how many entries."""
    count = 0
    while sealed := _seal_stretch(tenant_id, now):
        count += sealed
    return count


def _seal_stretch(tenant_id: int, now: datetime) -> int:
    with acting_for(tenant_id), transaction.atomic():
        # One worker at a time; the trail itself is not held up.
        Tenant.objects.select_for_update(no_key=True).get(pk=tenant_id)
        seals = AuditSeal.objects.filter(tenant_id=tenant_id).order_by("-sequence")
        last = seals.first()
        wanted = _unsealed(tenant_id, last, now - SETTLED)[:STRETCH]
        if not wanted:
            return 0
        mine = AuditEntry.objects.filter(tenant_id=tenant_id, pk__in=wanted)
        entries = list(mine.order_by("at", "pk"))
        sequence = last.sequence + 1 if last else 1
        packed = b"".join(entry.pk.bytes + entry_hash(entry) for entry in entries)
        digest = _digest(_opened(last) if last else b"", sequence, packed)
        AuditSeal.objects.create(
            tenant_id=tenant_id,
            sequence=sequence,
            until_at=max(entries[-1].at, last.until_at if last else entries[-1].at),
            entries=packed,
            sealed=seal(digest, context=seal_context(tenant_id, sequence)),
        )
    return len(entries)


def _unsealed(tenant_id: int, last: AuditSeal | None, before: datetime) -> list[UUID]:
    """Return the settled entries that no seal has, the oldest first."""
    found = AuditEntry.objects.filter(tenant_id=tenant_id, at__lt=before)
    known: set[UUID] = set()
    if last is not None:
        since = last.until_at - LATE
        found = found.filter(at__gte=since)
        recent = AuditSeal.objects.filter(tenant_id=tenant_id, until_at__gte=since)
        known = {one for each in recent for one, _ in _unpacked(each)}
    ids = found.order_by("at", "pk").values_list("pk", flat=True)
    return [entry_id for entry_id in ids if entry_id not in known]


def verify_trail(tenant_id: int, *, now: datetime) -> list[Flaw]:
    """Return everything in the trail that is not as it was sealed; empty: all is."""
    with acting_for(tenant_id):
        seals = list(AuditSeal.objects.filter(tenant_id=tenant_id).order_by("sequence"))
        flaws = [*_broken_seals(seals), *_changed_entries(tenant_id, seals)]
        last = seals[-1] if seals else None
        # What the next seal takes is no flaw: it may be late.
        late = set(_unsealed(tenant_id, last, now - SETTLED - LATE))
        if last is None:
            return [Flaw("seal 1", "is missing")] if late else []
        known = {one for each in seals for one, _ in _unpacked(each)}
        old = AuditEntry.objects.filter(
            tenant_id=tenant_id, at__lt=last.until_at - LATE
        )
        late |= set(old.values_list("pk", flat=True)) - known
    return flaws + [Flaw(f"{one}", "was put in later: no seal has it") for one in late]


def _broken_seals(seals: Sequence[AuditSeal]) -> Iterator[Flaw]:
    digest = b""
    for expected, one in enumerate(seals, start=1):
        digest = _digest(digest, expected, bytes(one.entries))
        if one.sequence != expected:
            yield Flaw(f"seal {expected}", "is missing")
            return
        try:
            is_whole = _opened(one) == digest
        except SealBroken:
            is_whole = False
        if not is_whole:
            yield Flaw(f"seal {one.sequence}", "was changed, or one before it")
            return


def _changed_entries(tenant_id: int, seals: Sequence[AuditSeal]) -> Iterator[Flaw]:
    for one in seals:
        wanted = dict(_unpacked(one))
        found = AuditEntry.objects.filter(tenant_id=tenant_id, pk__in=wanted)
        hashes = {entry.pk: entry_hash(entry) for entry in found}
        for entry_id, digest in wanted.items():
            if entry_id not in hashes:
                yield Flaw(f"{entry_id}", "is missing")
            elif hashes[entry_id] != digest:
                yield Flaw(f"{entry_id}", "was changed")


def entry_hash(entry: AuditEntry) -> bytes:
    """Return what a seal keeps of an entry."""
    parts = [
        entry.pk.hex,
        entry.tenant_id,
        entry.at.timestamp(),
        entry.actor,
        entry.address,
        entry.action,
        entry.subject,
        entry.detail,
    ]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()[:_HASH_BYTES]


def _unpacked(one: AuditSeal) -> Iterator[tuple[UUID, bytes]]:
    packed, size = bytes(one.entries), _ID_BYTES + _HASH_BYTES
    for start in range(0, len(packed), size):
        part = packed[start : start + size]
        yield UUID(bytes=part[:_ID_BYTES]), part[_ID_BYTES:]


def _digest(before: bytes, sequence: int, entries: bytes) -> bytes:
    return hashlib.sha256(before + sequence.to_bytes(8) + entries).digest()


def _opened(one: AuditSeal) -> bytes:
    context = seal_context(one.tenant_id, one.sequence)
    return unseal(bytes(one.sealed), context=context)


def seal_context(tenant_id: int, sequence: int) -> str:
    """Return what a seal's digest is bound to."""
    return f"audit:{tenant_id}:{sequence}"
