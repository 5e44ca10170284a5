"""What the listener reads of a CloudEvent, or of a batch of them."""

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from ingest.formats.cloudevents.events import read_event
from ingest.formats.interface import Envelope, EnvelopeInvalid, Format
from ingest.formats.strict_json import decode_json, require_depth, require_utf8

#: Events in a batch at most: each is a row of its own, and all are one transaction,
#: which the callbacks behind it wait for.
EVENTS_LIMIT = 1_000

_parts = msgspec.json.Decoder(list[Raw])


def read(body: bytes, inner: Mapping[str, Format]) -> list[Envelope]:
    """
    Return the one envelope of an event.

    Raises: EnvelopeInvalid: malformed_json, invalid_event, invalid_transaction_id, and
        what the format of its data raises.
    """
    require_utf8(body)
    envelope = Envelope(body, _transaction_id(body, inner))
    require_depth(body)
    return [envelope]


def read_batch(body: bytes, inner: Mapping[str, Format]) -> list[Envelope]:
    """
    Return the envelope of each event, in order, with the event's own bytes.

    Raises: EnvelopeInvalid: the same, with the index of the first event that cannot be
        read; invalid_batch, batch_too_long.
    """
    require_utf8(body)
    try:
        parts = decode_json(_parts, body)
    except msgspec.ValidationError:
        raise EnvelopeInvalid("invalid_batch", "A batch is an array.") from None
    if not parts:
        raise EnvelopeInvalid("invalid_batch", "The batch has no event.")
    if len(parts) > EVENTS_LIMIT:
        raise EnvelopeInvalid(
            "batch_too_long", f"A batch has at most {EVENTS_LIMIT} events."
        )
    require_depth(body)
    return [_read_part(index, raw, inner) for index, raw in enumerate(parts)]


def _read_part(index: int, raw: Raw, inner: Mapping[str, Format]) -> Envelope:
    try:
        return Envelope(memoryview(raw), _transaction_id(raw, inner))
    except EnvelopeInvalid as error:
        raise EnvelopeInvalid(
            error.code, f"Event {index}: {error}", index=index
        ) from None


def _transaction_id(body: bytes | Raw, inner: Mapping[str, Format]) -> str:
    """Return the event's transaction id; its data is read, and forgotten."""
    event = read_event(body, inner)
    try:
        event.form.read(event.data)
    except EnvelopeInvalid as error:
        raise EnvelopeInvalid(error.code, f"In data: {error}") from None
    return event.transaction_id
