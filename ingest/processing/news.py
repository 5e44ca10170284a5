"""What a batch has to tell: the events of its callbacks, and what they are about."""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from ingest.models import CallbackState
from ingest.obis import commodity_of
from ingest.processing.directory import Directory
from ingest.processing.work import Claim, NewDevice, Outcome
from ingest.receipts import LedgerRow, receipt_document
from subscriptions.filtering import Subject
from subscriptions.services.publishing import Event
from tenants.identifiers import public_id

#: device, channel, kind.
_Series = tuple[str, str, str]


def events_of(
    rows: Sequence[tuple[Outcome, LedgerRow]],
    directory: Directory | None,
    now: datetime,
) -> list[Event]:
    """Return what the callbacks and their new devices give to tell."""
    devices = directory.new_devices if directory is not None else []
    return [
        *(_outcome_event(*pair, directory, now) for pair in rows),
        *(_correction_event(*pair, directory, now) for pair in rows if _corrects(pair)),
        *(_device_event(device, now) for device in devices),
    ]


def _corrects(pair: tuple[Outcome, LedgerRow]) -> bool:
    return bool(pair[0].corrections)


def _outcome_event(
    outcome: Outcome, row: LedgerRow, directory: Directory | None, now: datetime
) -> Event:
    is_rejected = row.state == CallbackState.REJECTED
    return _event(
        outcome.claim,
        "callback.rejected" if is_rejected else "callback.processed",
        receipt_document(row),
        partial(_about_readings, outcome, directory),
        now,
    )


def _correction_event(
    outcome: Outcome, row: LedgerRow, directory: Directory | None, now: datetime
) -> Event:
    data = {
        "receipt": public_id("rcp", row.id),
        "transaction_id": row.transaction_id,
        "source": public_id("src", row.source_id),
        "count": outcome.corrected,
        "corrections": outcome.corrections,
    }
    # Where not all are listed, it may be about any of the callback's.
    is_listed = outcome.corrected == len(outcome.corrections)
    about = _about_corrections if is_listed else _about_readings
    subjects = partial(about, outcome, directory)
    return _event(outcome.claim, "reading.corrected", data, subjects, now)


def _device_event(device: NewDevice, now: datetime) -> Event:
    data = {
        "device": device.name,
        "status": device.status,
        "source": public_id("src", device.claim.source_id),
        "receipt": public_id("rcp", device.claim.id),
    }
    return _event(
        device.claim,
        "device.registered",
        data,
        lambda: (Subject(device.name),),
        now,
    )


def _event(
    claim: Claim,
    event_type: str,
    data: dict[str, Any],
    subjects: Callable[[], Collection[Subject]],
    now: datetime,
) -> Event:
    return Event(
        tenant_id=claim.tenant_id,
        tenant_slug=claim.tenant_slug,
        event_type=event_type,
        data=data,
        occurred_at=now,
        receipt_id=claim.id,
        source_id=claim.source_id,
        subjects=subjects,
    )


def _about_readings(
    outcome: Outcome, directory: Directory | None
) -> Collection[Subject]:
    """Return the channels that the callback has readings of, refused ones too."""
    parsed = outcome.claim.whole or outcome.parsed
    series = {reading[1:4] for reading in parsed.readings}
    return _subjects(outcome.claim.tenant_id, series, directory)


def _about_corrections(
    outcome: Outcome, directory: Directory | None
) -> Collection[Subject]:
    series = {
        (one["device"], one["channel"], one["kind"]) for one in outcome.corrections
    }
    return _subjects(outcome.claim.tenant_id, series, directory)


def _subjects(
    tenant_id: int, series: Iterable[_Series], directory: Directory | None
) -> Collection[Subject]:
    subjects = set()
    for device, channel, kind in series:
        known = directory and directory.find((tenant_id, device, channel, kind))
        # A large callback's earlier chunks may be known to another worker alone.
        commodity = known.commodity if known else commodity_of(channel)
        subjects.add(Subject(device, channel, commodity))
    return subjects
