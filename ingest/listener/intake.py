"""What an admitted sender sent: its content type, envelope, and place in the ledger."""

from hashlib import sha256

from ingest.formats.interface import Envelope, EnvelopeInvalid, Naming
from ingest.formats.limits import TRANSACTION_ID_LIMIT
from ingest.formats.registry import FORMATS, find_format
from ingest.listener import replies
from ingest.listener.ledger import Entry, Ledger, Outcome, Verdict
from ingest.listener.replies import Refused, Reply, refusal
from ingest.listener.requests import Headers
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
        form = find_format(headers.get("content-type"))
        if form is None:
            return MEDIA_TYPE
        try:
            envelopes = form.read(body)
        except EnvelopeInvalid as error:
            return refusal(error.code, str(error))
        digest = sha256(body).digest()
        (envelope,) = envelopes
        entry = Entry(
            tenant_id=source.tenant_id,
            source_id=source.id,
            transaction_id=_transaction_id(
                source, headers, envelope, form.naming, digest
            ),
            digest=digest,
            content_type=form.content_type,
            body=body,
            deadline_at=deadline_at,
        )
        return _answer(entry, await self._ledger.record(entry))


def _transaction_id(
    source: KnownSource,
    headers: Headers,
    envelope: Envelope,
    naming: Naming,
    digest: bytes,
) -> str:
    stated = envelope.transaction_id
    if naming is Naming.EVENT and stated is not None:
        return stated
    if source.scheme != Scheme.STANDARD:
        if stated is None and naming is Naming.CONTENT:
            return f"sha256:{digest.hex()}"
        if stated is None:
            raise Refused(replies.MISSING_TRANSACTION_ID)
        return stated
    identifier = headers["webhook-id"] or ""
    if not 1 <= len(identifier) <= TRANSACTION_ID_LIMIT:
        raise Refused(replies.INVALID_TRANSACTION_ID)
    if stated is not None and stated != identifier:
        raise Refused(replies.TRANSACTION_ID_MISMATCH)
    return identifier


def _answer(entry: Entry, outcome: Outcome) -> Reply:
    if outcome.receipt is None:
        return _REFUSED_OUTCOMES[outcome.verdict]
    if outcome.verdict is Verdict.ACCEPTED:
        return replies.accepted(outcome.receipt, entry.transaction_id)
    return replies.duplicate(outcome.receipt, entry.transaction_id)
