"""What a batch leaves behind: the ledger's outcomes, rejections, and messages."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg import Connection

from ingest.models import CallbackState
from ingest.processing.work import Claim, NewDevice, Outcome
from ingest.receipts import LedgerRow, receipt_document
from subscriptions.services.publishing import Event, publish
from tenants.identifiers import public_id

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
    devices: Sequence[NewDevice],
    now: datetime,
) -> int:
    """Write what became of the callbacks and tell who asked; return the deliveries."""
    rows = [(outcome, outcome.ledger_row(now)) for outcome in outcomes]
    if rows:
        _write_ledger(lane, rows, now)
        _write_rejections(lane, rows)
    events = [_outcome_event(outcome, row, now) for outcome, row in rows]
    events += [_correction_event(*pair, now) for pair in rows if pair[0].corrections]
    events += [_device_event(device, now) for device in devices]
    with lane.cursor() as cursor:
        return publish(cursor, events)


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


def _outcome_event(outcome: Outcome, row: LedgerRow, now: datetime) -> Event:
    is_rejected = row.state == CallbackState.REJECTED
    return _event(
        outcome.claim,
        "callback.rejected" if is_rejected else "callback.processed",
        receipt_document(row),
        now,
    )


def _correction_event(outcome: Outcome, row: LedgerRow, now: datetime) -> Event:
    data = {
        "receipt": public_id("rcp", row.id),
        "transaction_id": row.transaction_id,
        "source": public_id("src", row.source_id),
        "count": outcome.corrected,
        "corrections": outcome.corrections,
    }
    return _event(outcome.claim, "reading.corrected", data, now)


def _device_event(device: NewDevice, now: datetime) -> Event:
    data = {
        "device": device.name,
        "status": device.status,
        "source": public_id("src", device.claim.source_id),
        "receipt": public_id("rcp", device.claim.id),
    }
    return _event(device.claim, "device.registered", data, now)


def _event(claim: Claim, event_type: str, data: dict[str, Any], now: datetime) -> Event:
    return Event(
        tenant_id=claim.tenant_id,
        tenant_slug=claim.tenant_slug,
        event_type=event_type,
        data=data,
        occurred_at=now,
    )
