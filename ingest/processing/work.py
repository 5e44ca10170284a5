"""The values that the steps of a batch hand on."""

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from ingest.formats.parsed import Parsed, ReadingError
from ingest.models import CallbackState
from ingest.processing.progress import Progress
from ingest.receipts import Counts, LedgerRow


class Claim(NamedTuple):
    """A callback that this worker holds until its transaction ends."""

    id: UUID
    tenant_id: int
    tenant_slug: str
    source_id: UUID
    transaction_id: str
    received_at: datetime
    #: Whether its source registers devices that it has not seen before.
    registers_devices: bool
    content_type: str
    #: None: retention dropped it, or `whole` is there instead.
    body: bytes | None
    #: The device whose own key signed it; None: the source's key did.
    signed_by: str | None = None
    #: How many workers were lost while they worked on it alone.
    workers_lost: int = 0
    #: How far a large one has come; None: it is small, and done at once.
    progress: Progress | None = None
    #: The body of a large one, when this worker parsed it before.
    whole: Parsed | None = None


@dataclass(slots=True)
class Outcome:
    """A callback and what became of its readings so far."""

    claim: Claim
    parsed: Parsed
    stored: int = 0
    unchanged: int = 0
    #: What was superseded, as `reading.corrected` lists it.
    corrections: list[dict[str, Any]] = field(default_factory=list)
    corrected: int = 0

    def refuse(self, index: int | None, code: str, detail: str) -> None:
        """Count a reading as refused, and say why."""
        self.parsed.refuse(index, code, detail)

    @property
    def state(self) -> CallbackState:
        """How the callback ends."""
        if not self.parsed.rejected:
            return CallbackState.PROCESSED
        if self.stored or self.unchanged or self.corrected:
            return CallbackState.PARTLY_REJECTED
        return CallbackState.REJECTED

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The receipt's errors, by the readings' order."""
        return [asdict(error) for error in sorted(self.parsed.errors, key=_place)]

    def ledger_row(self, now: datetime) -> LedgerRow:
        """Return what the ledger will say."""
        return LedgerRow(
            id=self.claim.id,
            source_id=self.claim.source_id,
            transaction_id=self.claim.transaction_id,
            state=self.state,
            counts=Counts(
                self.stored, self.unchanged, self.corrected, self.parsed.rejected
            ),
            errors=self.errors,
            received_at=self.claim.received_at,
            processed_at=now,
        )


def _place(error: ReadingError) -> int:
    return -1 if error.index is None else error.index


class NewDevice(NamedTuple):
    """A device that this batch made known."""

    claim: Claim
    name: str
    status: str
