"""The receipt: what a callback's sender is told of it, in the API and in messages."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from tenants.identifiers import public_id

#: CallbackState's numbers as the outside calls them.
STATUS_NAMES = ("accepted", "processed", "partly_rejected", "rejected")


class Counts(NamedTuple):
    """What became of a callback's readings."""

    stored: int
    unchanged: int
    corrected: int
    rejected: int


class LedgerRow(NamedTuple):
    """What a receipt is made from."""

    id: UUID
    source_id: UUID
    transaction_id: str
    state: int
    counts: Counts
    errors: Sequence[Any]
    received_at: datetime
    processed_at: datetime | None


def receipt_document(row: LedgerRow) -> dict[str, Any]:
    """Return the receipt as docs/reference/readings.md shows it."""
    return {
        "receipt": public_id("rcp", row.id),
        "transaction_id": row.transaction_id,
        "source": public_id("src", row.source_id),
        "status": STATUS_NAMES[row.state],
        "readings": row.counts._asdict(),
        "errors": list(row.errors),
        "received_at": instant(row.received_at),
        "processed_at": instant(row.processed_at) if row.processed_at else None,
    }


def instant(at: datetime) -> str:
    """Return the moment in UTC, ending in Z."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
