"""What a batch leaves behind: the ledger's outcomes, rejections, and messages."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg import Connection

from ingest.processing.directory import Directory
from ingest.processing.news import events_of
from ingest.processing.work import Outcome
from ingest.receipts import LedgerRow
from subscriptions.services.publishing import Event, publish

_SETTLE = """
UPDATE ingest_callback c
SET state = k.state, processed_at = %s, stored = k.stored, unchanged = k.unchanged,
    corrected = k.corrected, rejected = k.rejected, errors = k.errors
FROM unnest(%s::bigint[], %s::uuid[], %s::bigint[], %s::bigint[], %s::bigint[],
    %s::bigint[], %s::bigint[], %s::jsonb[])
    AS k (tenant_id, id, state, stored, unchanged, corrected, rejected, errors)
WHERE c.tenant_id = k.tenant_id AND c.id = k.id
"""

_REJECT = """
INSERT INTO ingest_callbackrejection (tenant_id, callback_id, code, detail)
SELECT * FROM unnest(%s::bigint[], %s::uuid[], %s::text[], %s::text[])
ON CONFLICT (tenant_id, callback_id) DO UPDATE
SET code = excluded.code, detail = excluded.detail, rejected_at = excluded.rejected_at
"""


def settle(
    lane: Connection[Any],
    outcomes: Sequence[Outcome],
    directory: Directory | None,
    heard: Sequence[Event],
    now: datetime,
) -> int:
    """
    Write what became of the callbacks and tell who asked; return the deliveries.

    `directory`: what the batch knows of channels; None: it knows none of them.
    `heard`: what is told beside. All of it in one publication: it takes the places of
    ordered endpoints once, so that workers never wait for each other in a circle.
    """
    rows = [(outcome, outcome.ledger_row(now)) for outcome in outcomes]
    if rows:
        _write_ledger(lane, rows, now)
        _write_rejections(lane, rows)
    with lane.cursor() as cursor:
        return publish(cursor, [*events_of(rows, directory, now), *heard])


def _write_ledger(
    lane: Connection[Any], rows: Iterable[tuple[Outcome, LedgerRow]], now: datetime
) -> None:
    columns = zip(
        *(
            (
                outcome.claim.tenant_id,
                row.id,
                int(row.state),
                *row.counts,
                msgspec.json.encode(row.errors).decode() if row.errors else None,
            )
            for outcome, row in rows
        ),
        strict=True,
    )
    lane.execute(_SETTLE, [now, *map(list, columns)])


def _write_rejections(
    lane: Connection[Any], rows: Iterable[tuple[Outcome, LedgerRow]]
) -> None:
    rejected = [
        (
            outcome.claim.tenant_id,
            row.id,
            row.errors[0]["code"],
            row.errors[0]["detail"],
        )
        for outcome, row in rows
        if row.errors
    ]
    if rejected:
        lane.execute(_REJECT, [list(column) for column in zip(*rejected, strict=True)])
