"""
Fixing the audit trail in stretches, so that whoever changes it later is found out.

The database refuses changes of the trail to every role of the platform. A superuser can
lift that; what he cannot do without the encryption key is to make the seals fit. Each
seal has the hash of every entry of its stretch, and its digest goes over the seal
before it: a changed entry, a missing one and one put in later are named. What is older
than a day is not sealed any more, so that seals which were taken out stay missing.
Source: docs/explanation/tenancy.md
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from uuid import UUID

from tenants.actors import operator
from tenants.database import acting_for, pipeline
from tenants.models import AuditEntry, AuditSeal, Tenant
from tenants.services import record_audit
from tenants.vault import SealBroken, seal, unseal

#: An entry's moment is its transaction's begin; no transaction lasts for so long.
SETTLED = timedelta(minutes=10)
#: What is older than this is not sealed any more, unless somebody says so.
LATE = timedelta(days=1)
#: Entries of one seal at most.
STRETCH = 1_000
_ID_BYTES = 16
_HASH_BYTES = 16
#: What a seal keeps of an entry: its id first.
ENTRY_BYTES = _ID_BYTES + _HASH_BYTES
#: What is said of an old entry that no seal has.
UNSEALED = "has no seal: it was put in later, its seal was taken out, or none was made"


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
    """
    Seal what is settled of one tenant's trail; return how many entries.

    What is older than LATE is left alone. Seals that were taken out would otherwise be
    made anew, over entries that were changed meanwhile.
    """
    count, sealed, since = 0, STRETCH, now - LATE
    while sealed == STRETCH:
        # What is older than a full stretch's last entry has been sealed by then.
        sealed, since = _seal_stretch(tenant_id, since, now - SETTLED)
        count += sealed
    return count


def _seal_stretch(
    tenant_id: int, since: datetime, before: datetime
) -> tuple[int, datetime]:
    """Seal the oldest entries of that time; return how many, and when the last was."""
    with acting_for(tenant_id):
        _lock(tenant_id)
        found = _unsealed(tenant_id, since=since, before=before)
        wanted = list(islice(found, STRETCH))
        return len(wanted), _add_seal(tenant_id, wanted) if wanted else since


def accept_trail(tenant: Tenant, *, now: datetime) -> int:
    """
    Seal the old entries that no seal has, as they are now; return how many.

    The trail itself says that this was done, from which entry to which.
    """
    with acting_for(tenant):
        _lock(tenant.pk)
        old = list(_unsealed(tenant.pk, since=None, before=now - LATE))
        for start in range(0, len(old), STRETCH):
            _add_seal(tenant.pk, old[start : start + STRETCH])
        if old:
            record_audit(
                actor=operator(tenant),
                action="audit.accepted",
                subject=tenant.slug,
                detail={
                    "entries": len(old),
                    "first": f"{old[0]}",
                    "last": f"{old[-1]}",
                },
            )
    return len(old)


def _lock(tenant_id: int) -> None:
    """Let one process at a time add seals; the trail itself is not held up."""
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant_id)


def _add_seal(tenant_id: int, wanted: Sequence[UUID]) -> datetime:
    """Seal these entries; return when the last of them was."""
    seals = AuditSeal.objects.filter(tenant_id=tenant_id).order_by("-sequence")
    last = seals.first()
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
    return entries[-1].at


def _unsealed(
    tenant_id: int, *, since: datetime | None, before: datetime
) -> Iterator[UUID]:
    """Find the entries of that time that no seal has, the oldest first, as asked."""
    found = AuditEntry.objects.filter(tenant_id=tenant_id, at__lt=before)
    seals = AuditSeal.objects.filter(tenant_id=tenant_id)
    if since is not None:
        # No seal ends before an entry that it has.
        found, seals = found.filter(at__gte=since), seals.filter(until_at__gte=since)
    known = {one for each in seals.iterator() for one, _ in _unpacked(each)}
    ids = found.order_by("at", "pk").values_list("pk", flat=True)
    found_ids = ids.iterator(chunk_size=STRETCH)
    return (entry_id for entry_id in found_ids if entry_id not in known)


def verify_trail(tenant_id: int, *, now: datetime) -> list[Flaw]:
    """Return everything in the trail that is not as it was sealed; empty: all is."""
    with acting_for(tenant_id):
        seals = list(AuditSeal.objects.filter(tenant_id=tenant_id).order_by("sequence"))
        flaws = [*_broken_seals(seals), *_changed_entries(tenant_id, seals)]
        # What the next seal takes is no flaw: it may be late.
        old = list(_unsealed(tenant_id, since=None, before=now - LATE - SETTLED))
    if old and not seals:
        return [Flaw("seal 1", "is missing")]
    return flaws + [Flaw(f"{one}", UNSEALED) for one in old]


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
    packed = bytes(one.entries)
    for start in range(0, len(packed), ENTRY_BYTES):
        part = packed[start : start + ENTRY_BYTES]
        yield UUID(bytes=part[:_ID_BYTES]), part[_ID_BYTES:]


def _digest(before: bytes, sequence: int, entries: bytes) -> bytes:
    return hashlib.sha256(before + sequence.to_bytes(8) + entries).digest()


def _opened(one: AuditSeal) -> bytes:
    context = seal_context(one.tenant_id, one.sequence)
    return unseal(bytes(one.sealed), context=context)


def seal_context(tenant_id: int, sequence: int) -> str:
    """Return what a seal's digest is bound to."""
    return f"audit:{tenant_id}:{sequence}"
