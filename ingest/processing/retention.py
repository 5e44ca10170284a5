"""
Forgetting what is past its retention, in steps that nobody notices.

Raw bodies and readings are dropped by the partition. Ids of the ledger are deleted a
few thousand a transaction, in the order of the primary key, which is that of time.
Source: docs/explanation/retention.md
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from time import monotonic
from typing import NamedTuple
from uuid import UUID

from django.conf import settings

from ingest.formats.parsed import Parsed
from ingest.processing.partitions import readings_kept_from
from tenants.database import pipeline
from tenants.identifiers import first_id

#: Ids that one transaction forgets at most: some tens of milliseconds.
STEP = 5_000
_FIRST = UUID(int=0)
_TOO_OLD = "at: before the months that are kept (GRIDHOOK_READING_RETENTION_MONTHS)."

#: One probe of the primary key for each tenant.
_TENANTS = """
SELECT t.id FROM tenants_tenant t WHERE EXISTS (
    SELECT FROM ingest_callback c WHERE c.tenant_id = t.id AND c.id < %s)
ORDER BY t.id
"""

#: The next ids of a tenant; of these, those that nobody is to process are forgotten
#: with their rejections. Ids are of the listeners' clocks, `received_at` is of the
#: database's: a row goes when it is old by both. Read by the key (ARRAY), whatever the
#: statistics say.
_STEP = """
WITH old AS MATERIALIZED (
    SELECT id FROM ingest_callback
    WHERE tenant_id = %(tenant)s AND id > %(after)s AND id < %(first_kept)s
    ORDER BY id LIMIT %(limit)s
), forgotten AS MATERIALIZED (
    DELETE FROM ingest_callback
    WHERE tenant_id = %(tenant)s AND id = ANY (ARRAY(SELECT id FROM old))
        AND state <> 0 AND received_at < %(kept_from)s
    RETURNING id
), rejections AS (
    DELETE FROM ingest_callbackrejection
    WHERE tenant_id = %(tenant)s
        AND callback_id = ANY (ARRAY(SELECT id FROM forgotten))
)
SELECT (SELECT count(*) FROM forgotten), (SELECT count(*) FROM old),
    (SELECT id FROM old ORDER BY id DESC LIMIT 1)
"""

#: Where this process goes on in each tenant's ids, past what it deleted: that stays in
#: the index until a vacuum.
_positions: dict[int, UUID] = {}


class Forgotten(NamedTuple):
    """What a turn of forgetting did."""

    callbacks: int
    #: Whether nothing is left that is past its retention.
    is_done: bool


def forget_callbacks(*, now: datetime, seconds: float) -> Forgotten:
    """
    Forget the ledger's ids that are past their retention, for so long at most.

    A callback that waits to be processed stays, however old it is.
    """
    kept_from = now - timedelta(days=settings.LEDGER_RETENTION_DAYS)
    end_s = monotonic() + seconds
    count = 0
    for tenant_id in _tenants(kept_from):
        for forgotten in _steps(tenant_id, kept_from):
            count += forgotten
            if monotonic() > end_s:
                return Forgotten(count, is_done=False)
    return Forgotten(count, is_done=True)


def _tenants(kept_from: datetime) -> list[int]:
    with pipeline() as lane:
        rows = lane.execute(_TENANTS, [first_id(kept_from)]).fetchall()
    return [tenant_id for (tenant_id,) in rows]


def _steps(tenant_id: int, kept_from: datetime) -> Iterator[int]:
    """Forget a tenant's old ids step by step; yield how many each one forgot."""
    after: UUID | None = _positions.get(tenant_id, _FIRST)
    is_clean = True
    while after is not None:
        forgotten, seen, last = _step(tenant_id, after, kept_from)
        is_clean = is_clean and forgotten == seen
        if is_clean and last is not None:
            _positions[tenant_id] = last
        yield forgotten
        after = last if seen == STEP else None


def _step(
    tenant_id: int, after: UUID, kept_from: datetime
) -> tuple[int, int, UUID | None]:
    values = {
        "tenant": tenant_id,
        "after": after,
        "limit": STEP,
        "first_kept": first_id(kept_from),
        "kept_from": kept_from,
    }
    with pipeline() as lane:
        return lane.execute(_STEP, values).fetchone() or (0, 0, None)


def refuse_forgotten(parsed: Parsed, now: datetime) -> None:
    """Refuse the readings of months that are not kept: their partition may be gone."""
    kept_from = readings_kept_from(now)
    if kept_from is None:
        return
    for reading in parsed.readings:
        if reading[4] < kept_from:
            parsed.refuse(reading[0], "time_out_of_range", _TOO_OLD)
    parsed.readings = [one for one in parsed.readings if one[4] >= kept_from]
