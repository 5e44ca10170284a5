"""
Taking callbacks from the queue, and taking them off it.

Small ones come many at a time. One whose body is larger than `LARGE_BYTES` is set apart
and comes alone, a chunk at a time (`chunks`), so that it holds no small one up.
Source: docs/explanation/large-bodies.md
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import Connection

from ingest.models import UnknownDevices
from ingest.processing.kept import Kept
from ingest.processing.progress import Progress, load_progress
from ingest.processing.trials import left
from ingest.processing.work import Claim

log = logging.getLogger(__name__)

#: A body above this size is done in chunks, apart from the small ones.
LARGE_BYTES = 256 * 1024
#: Bodies that a batch holds in memory at most; the first one comes whatever its size.
BATCH_BYTES = 2 * 1024 * 1024
#: Any size: Postgres has no larger value.
_ANY_BYTES = 2**30

#: Oldest first, past what other workers hold.
_PICK = """
SELECT callback_id, tenant_id, received_at FROM ingest_pendingcallback
WHERE NOT is_large ORDER BY callback_id LIMIT %s FOR UPDATE SKIP LOCKED
"""

#: Unless another worker took it meanwhile.
_PICK_AGAIN = """
SELECT callback_id, tenant_id, received_at FROM ingest_pendingcallback
WHERE callback_id = %s AND tenant_id = %s FOR UPDATE SKIP LOCKED
"""

#: One that this worker has parsed already goes before the oldest.
_PICK_LARGE = """
SELECT callback_id, tenant_id, received_at FROM ingest_pendingcallback
WHERE is_large ORDER BY callback_id = ANY(%s::uuid[]) DESC, callback_id
LIMIT 1 FOR UPDATE SKIP LOCKED
"""

_SET_APART = """
UPDATE ingest_pendingcallback p SET is_large = true
FROM unnest(%s::uuid[], %s::bigint[]) AS k (callback_id, tenant_id)
WHERE p.callback_id = k.callback_id AND p.tenant_id = k.tenant_id
"""

#: The bounds on received_at let Postgres leave other days' partitions alone; sizes are
#: told without reading the bodies, and only those up to `most` are read. Each row is
#: looked up by its key (LATERAL with LIMIT): these tables outgrow what statistics know
#: of them within seconds, and a planner that believes them small would read them whole.
_FETCH = """
SELECT id, tenant_id, slug, source_id, transaction_id, received_at,
    register_devices = %(auto)s, coalesce(content_type, ''),
    CASE WHEN size <= %(most)s THEN body END, signed_by, size
FROM (
    SELECT c.id, c.tenant_id, t.slug, c.source_id, c.transaction_id, c.received_at,
        coalesce(s.register_devices, '') AS register_devices, b.content_type, b.body,
        b.signed_by, octet_length(b.body) AS size,
        sum(octet_length(b.body)) FILTER (WHERE octet_length(b.body) <= %(most)s)
            OVER (ORDER BY c.id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
            AS before
    FROM unnest(%(tenants)s::bigint[], %(ids)s::uuid[]) AS k (tenant_id, id)
    CROSS JOIN LATERAL (
        SELECT * FROM ingest_callback c
        WHERE c.tenant_id = k.tenant_id AND c.id = k.id LIMIT 1
    ) AS c
    LEFT JOIN LATERAL (
        SELECT * FROM ingest_callbackbody b
        WHERE b.tenant_id = k.tenant_id AND b.callback_id = k.id
            AND b.received_at BETWEEN %(from)s AND %(to)s LIMIT 1
    ) AS b ON true
    JOIN tenants_tenant t ON t.id = k.tenant_id
    LEFT JOIN ingest_source s ON s.tenant_id = k.tenant_id AND s.id = c.source_id
) AS sized
WHERE coalesce(before, 0) < %(budget)s
ORDER BY id
"""

_RELEASE = """
DELETE FROM ingest_pendingcallback p
USING unnest(%s::uuid[], %s::bigint[]) AS k (callback_id, tenant_id)
WHERE p.callback_id = k.callback_id AND p.tenant_id = k.tenant_id
"""

#: What is in the queue but not in the ledger (a restore, a person's hand) would stay at
#: its head for ever.
_DROP_LOST = """
DELETE FROM ingest_pendingcallback p
USING unnest(%(ids)s::uuid[], %(tenants)s::bigint[]) AS k (callback_id, tenant_id)
WHERE p.callback_id = k.callback_id AND p.tenant_id = k.tenant_id AND NOT EXISTS (
    SELECT FROM ingest_callback c JOIN tenants_tenant t ON t.id = c.tenant_id
    WHERE c.tenant_id = k.tenant_id AND c.id = k.callback_id)
RETURNING p.callback_id
"""


def claim(lane: Connection[Any], limit: int) -> list[Claim]:
    """
    Hold the oldest small callbacks that nobody holds, until the transaction ends.

    One whose worker was lost comes alone; large ones are set apart.
    """
    while picked := lane.execute(_PICK, [limit], binary=True).fetchall():
        lost = left(lane, [row[0] for row in picked])
        if lost:
            picked = [next(row for row in picked if row[0] in lost)]
        found = _fetch(lane, picked, LARGE_BYTES)
        _set_apart(lane, [row for row in found if _is_large(row)])
        small = [row for row in found if not _is_large(row)]
        if small:
            return [_claim(row, lost) for row in small]
    return []


def claim_again(lane: Connection[Any], one: Claim) -> list[Claim]:
    """Hold a callback whose transaction was undone, unless somebody else does."""
    picked = lane.execute(_PICK_AGAIN, [one.id, one.tenant_id], binary=True).fetchall()
    if not picked:
        return []
    lost = left(lane, [one.id])
    return [_claim(row, lost) for row in _fetch(lane, picked, _ANY_BYTES)]


def claim_large(lane: Connection[Any], now: datetime, kept: Kept) -> list[Claim]:
    """
    Hold a large callback that nobody holds: one whose body is kept, or the oldest.

    Its body is fetched unless it is kept.
    """
    while picked := lane.execute(_PICK_LARGE, [kept.ids], binary=True).fetchall():
        callback_id, tenant_id, _ = picked[0]
        # In a statement of its own: what is read now is newer than the lock.
        progress = load_progress(lane, tenant_id, callback_id) or Progress(began_at=now)
        whole = kept.find(callback_id, progress.began_at)
        lost = left(lane, [callback_id])
        found = _fetch(lane, picked, _ANY_BYTES if whole is None else -1)
        if found:
            one = _claim(found[0], lost)
            return [one._replace(progress=progress, whole=whole)]
    return []


def _claim(row: Sequence[Any], lost: dict[UUID, int]) -> Claim:
    return Claim(*row[:-1])._replace(workers_lost=lost.get(row[0], 0))


def _is_large(row: Sequence[Any]) -> bool:
    return (row[-1] or 0) > LARGE_BYTES


def _set_apart(lane: Connection[Any], rows: Sequence[Sequence[Any]]) -> None:
    if rows:
        lane.execute(_SET_APART, [[row[0] for row in rows], [row[1] for row in rows]])


def _fetch(lane: Connection[Any], picked: Sequence[Any], most: int) -> list[Any]:
    """Return the callbacks; drop from the queue what the ledger does not know."""
    ids, tenants, received = zip(*picked, strict=True)
    times: tuple[datetime, ...] = received
    wanted = {
        "auto": UnknownDevices.AUTO.value,
        "tenants": list(tenants),
        "ids": list(ids),
        "from": min(times),
        "to": max(times),
        "most": most,
        "budget": BATCH_BYTES,
    }
    found = lane.execute(_FETCH, wanted, binary=True).fetchall()
    if len(found) < len(picked):
        for (callback_id,) in lane.execute(_DROP_LOST, wanted).fetchall():
            log.warning("Queued callback %s is not in the ledger: dropped", callback_id)
    return found


def release(lane: Connection[Any], claims: Sequence[Claim]) -> None:
    """Take callbacks off the queue, for good once the transaction commits."""
    ids = [one.id for one in claims]
    lane.execute(_RELEASE, [ids, [one.tenant_id for one in claims]])
