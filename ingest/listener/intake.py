"""What an admitted sender sent: content type, envelopes, and place in the ledger."""

import asyncio
from collections.abc import Sequence
from hashlib import sha256

from ingest.formats.interface import Envelope, EnvelopeInvalid, Format, Naming
from ingest.formats.limits import TRANSACTION_ID_LIMIT
from ingest.formats.registry import FORMATS, find_format
from ingest.listener import metrics, replies
from ingest.listener.entries import Bundle, Entry, Outcome, Verdict
from ingest.listener.ledger import Ledger
from ingest.listener.replies import Refused, Reply, refusal
from ingest.listener.requests import LARGE_BYTES, Headers
from ingest.listener.sources import KnownSource
from ingest.models import Scheme

MEDIA_TYPE = refusal(
    "unsupported_media_type", f"The content type is one of {', '.join(FORMATS)}."
)
_REFUSED_OUTCOMES = {
    Verdict.CONFLICT: replies.CONFLICT,
    Verdict.OVERLOADED: replies.OVERLOADED,
    Verdict.UNAVAILABLE: replies.UNAVAILABLE,
}


class Intake:
    """Reads envelopes and puts them into the ledger."""

    def __init__(self, ledger: Ledger, large_ledger: Ledger) -> None:
        self._ledger = ledger
        self._large_ledger = large_ledger

    async def take(
        self,
        source: KnownSource,
        headers: Headers,
        body: bytes,
        *,
        deadline_at: float,
        signed_by: str | None = None,
    ) -> Reply:
        """
        Return the reply to a callback, or a batch, whose signature was verified.

        Raises: Refused.
        """
        if "content-encoding" in headers:
            return replies.CONTENT_ENCODING
        content_type = headers.get("content-type")
        form = FORMATS.get(content_type or "") or find_format(content_type)
        if form is None:
            return MEDIA_TYPE
        ledger = self._ledger
        try:
            if len(body) > LARGE_BYTES:
                ledger = self._large_ledger
                parts = await asyncio.to_thread(_read, form, body)
            else:
                parts = _read(form, body)
        except EnvelopeInvalid as error:
            return _unreadable(error)
        if form.parts_type is None:
            entry = _entry(source, headers, parts[0], form, deadline_at, signed_by)
            return _answer(entry, await ledger.record(entry))
        entries = [
            _entry(source, headers, part, form, deadline_at, signed_by)
            for part in parts
        ]
        bundle = Bundle(entries, deadline_at)
        return _answer_all(entries, await ledger.record_all(bundle))


def _read(form: Format, body: bytes) -> list[Envelope]:
    """Return the body's envelopes, each with its digest."""
    envelopes = form.read(body)
    for envelope in envelopes:
        envelope.digest = sha256(envelope.body).digest()
    return envelopes


def _entry(
    source: KnownSource,
    headers: Headers,
    envelope: Envelope,
    form: Format,
    deadline_at: float,
    signed_by: str | None,
) -> Entry:
    return Entry(
        tenant_id=source.tenant_id,
        source_id=source.id,
        transaction_id=_transaction_id(source, headers, envelope, form.naming),
        digest=envelope.digest,
        content_type=form.parts_type or form.content_type,
        body=envelope.body,
        deadline_at=deadline_at,
        signed_by=signed_by,
    )


def _transaction_id(
    source: KnownSource,
    headers: Headers,
    envelope: Envelope,
    naming: Naming,
) -> str:
    stated = envelope.transaction_id
    if source.scheme != Scheme.STANDARD:
        if stated is not None:
            return stated
        if naming is Naming.CONTENT:
            return f"sha256:{envelope.digest.hex()}"
        raise Refused(replies.MISSING_TRANSACTION_ID)
    if stated is not None and naming is Naming.EVENT:
        return stated
    identifier = headers["webhook-id"] or ""
    if not 1 <= len(identifier) <= TRANSACTION_ID_LIMIT:
        raise Refused(replies.INVALID_TRANSACTION_ID)
    if stated is not None and stated != identifier:
        raise Refused(replies.TRANSACTION_ID_MISMATCH)
    return identifier


def _unreadable(error: EnvelopeInvalid) -> Reply:
    if error.index is None:
        return refusal(error.code, str(error))
    return refusal(error.code, str(error), index=error.index)


def _answer(entry: Entry, outcome: Outcome) -> Reply:
    if outcome.receipt is None:
        return _REFUSED_OUTCOMES[outcome.verdict]
    if outcome.verdict is Verdict.ACCEPTED:
        metrics.count_accepted(entry.tenant_id, len(entry.body))
        return replies.accepted(outcome.receipt, entry.transaction_id)
    return replies.duplicate(outcome.receipt, entry.transaction_id)


def _answer_all(entries: Sequence[Entry], outcomes: Sequence[Outcome]) -> Reply:
    """Return the reply to a batch: the receipts of all, or why there is none."""
    conflicts = [
        {"index": index, "transaction_id": entry.transaction_id}
        for index, (entry, outcome) in enumerate(zip(entries, outcomes, strict=True))
        if outcome.verdict is Verdict.CONFLICT
    ]
    if conflicts:
        return refusal(
            "transaction_conflict",
            "Nothing was stored: other bytes have the transaction ids of some events.",
            conflicts=conflicts,
        )
    receipts = []
    for entry, outcome in zip(entries, outcomes, strict=True):
        if outcome.receipt is None:
            return _REFUSED_OUTCOMES[outcome.verdict]
        is_new = outcome.verdict is Verdict.ACCEPTED
        if is_new:
            metrics.count_accepted(entry.tenant_id, len(entry.body))
        receipts.append((is_new, outcome.receipt, entry.transaction_id))
    return replies.batch(receipts)
