"""What an admitted sender sent: its content type, envelope, and place in the ledger."""

from hashlib import sha256

from msgspec import UNSET

from ingest.formats.envelope import (
    TRANSACTION_ID_LIMIT,
    Envelope,
    EnvelopeInvalid,
    read_envelope,
)
from ingest.listener import replies
from ingest.listener.ledger import Entry, Ledger, Outcome, Verdict
from ingest.listener.replies import Refused, Reply, refusal
from ingest.listener.requests import Headers
from ingest.listener.sources import KnownSource
from ingest.models import Scheme

JSON_TYPE = "application/json"
_REFUSED_OUTCOMES = {
    Verdict.CONFLICT: replies.CONFLICT,
    Verdict.OVERLOADED: replies.OVERLOADED,
    Verdict.UNAVAILABLE: replies.UNAVAILABLE,
}


class Intake:
    """Reads envelopes and puts them into the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def take(
        self, source: KnownSource, headers: Headers, body: bytes, *, deadline_at: float
    ) -> Reply:
        """
        Return the reply to a callback whose signature was verified.

        Raises: Refused.
        """
        if "content-encoding" in headers:
            return replies.CONTENT_ENCODING
        if not _is_json(headers.get("content-type")):
            return replies.MEDIA_TYPE
        try:
            envelope = read_envelope(body)
        except EnvelopeInvalid as error:
            return refusal(error.code, str(error))
        entry = Entry(
            tenant_id=source.tenant_id,
            source_id=source.id,
            transaction_id=_transaction_id(source, headers, envelope),
            digest=sha256(body).digest(),
            content_type=JSON_TYPE,
            body=body,
            deadline_at=deadline_at,
        )
        return _answer(entry, await self._ledger.record(entry))


def _is_json(content_type: str | None) -> bool:
    if content_type == JSON_TYPE:
        return True
    return (content_type or "").partition(";")[0].strip().lower() == JSON_TYPE


def _transaction_id(source: KnownSource, headers: Headers, envelope: Envelope) -> str:
    stated = envelope.transaction_id
    if source.scheme != Scheme.STANDARD:
        if stated is UNSET:
            raise Refused(replies.MISSING_TRANSACTION_ID)
        return stated
    identifier = headers["webhook-id"] or ""
    if not 1 <= len(identifier) <= TRANSACTION_ID_LIMIT:
        raise Refused(replies.INVALID_TRANSACTION_ID)
    if stated is not UNSET and stated != identifier:
        raise Refused(replies.TRANSACTION_ID_MISMATCH)
    return identifier


def _answer(entry: Entry, outcome: Outcome) -> Reply:
    if outcome.receipt is None:
        return _REFUSED_OUTCOMES[outcome.verdict]
    if outcome.verdict is Verdict.ACCEPTED:
        return replies.accepted(outcome.receipt, entry.transaction_id)
    return replies.duplicate(outcome.receipt, entry.transaction_id)
