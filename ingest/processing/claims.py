"""Taking callbacks from the queue, and taking them off it."""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg import Connection

from ingest.models import UnknownDevices
from ingest.processing.trials import left
from ingest.processing.work import Claim

log = logging.getLogger(__name__)

#: Bodies that a batch holds in memory at most; the first one comes whatever its size.
BATCH_BYTES = 32 * 1024 * 1024

#: Oldest first, past what other workers hold.
_PICK = """
SELECT callback_id, tenant_id, received_at FROM ingest_pendingcallback
ORDER BY callback_id LIMIT %s FOR UPDATE SKIP LOCKED
"""

#: The bounds on received_at let Postgres leave other days' partitions alone; the sizes
#: are summed without reading the bodies. Each row is looked up by its key (LATERAL with
#: LIMIT): these tables outgrow what statistics know of them within seconds, and a
#: planner that believes them small would read them whole.
_FETCH = """
SELECT id, tenant_id, slug, source_id, transaction_id, received_at,
    register_devices = %(auto)s, coalesce(content_type, ''), body
FROM (
    SELECT c.id, c.tenant_id, t.slug, c.source_id, c.transaction_id, c.received_at,
        coalesce(s.register_devices, '') AS register_devices, b.content_type, b.body,
        sum(octet_length(b.body)) OVER (ORDER BY c.id ROWS BETWEEN UNBOUNDED PRECEDING
            AND 1 PRECEDING) AS before
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
    Hold the oldest callbacks that nobody holds, until the transaction ends.

    One whose worker was lost comes alone.
    """
    while picked := lane.execute(_PICK, [limit], binary=True).fetchall():
        lost = left(lane, [row[0] for row in picked])
        if lost:
            picked = [next(row for row in picked if row[0] in lost)]
        bounds = _bounds(picked)
        found = lane.execute(_FETCH, bounds, binary=True).fetchall()
        if len(found) < len(picked):
            _drop_lost(lane, bounds)
        if found:
            return [
                Claim(*row)._replace(workers_lost=lost.get(row[0], 0)) for row in found
            ]
    return []


def _drop_lost(lane: Connection[Any], bounds: dict[str, Any]) -> None:
    for (callback_id,) in lane.execute(_DROP_LOST, bounds).fetchall():
        log.warning("Queued callback %s is not in the ledger: dropped", callback_id)


def _bounds(picked: Sequence[Any]) -> dict[str, Any]:
    ids, tenants, received = zip(*picked, strict=True)
    times: tuple[datetime, ...] = received
    return {
        "auto": UnknownDevices.AUTO.value,
        "tenants": list(tenants),
        "ids": list(ids),
        "from": min(times),
        "to": max(times),
        "budget": BATCH_BYTES,
    }


def release(lane: Connection[Any], claims: Sequence[Claim]) -> None:
    """Take callbacks off the queue, for good once the transaction commits."""
    ids = [one.id for one in claims]
    lane.execute(_RELEASE, [ids, [one.tenant_id for one in claims]])
