"""The readings of a CloudEvent: those of its data, by the data's own format."""

from collections.abc import Mapping

from ingest.formats.cloudevents.events import read_event
from ingest.formats.interface import Context, EnvelopeInvalid, Format
from ingest.formats.parsed import Parsed


def parse(body: bytes, context: Context, inner: Mapping[str, Format]) -> Parsed:
    """Return the readings of the data; the subject is their device by default."""
    try:
        event = read_event(body, inner)
    except (EnvelopeInvalid, UnicodeDecodeError):
        parsed = Parsed()
        parsed.refuse(None, "invalid_event", "The body is not a CloudEvent.")
        return parsed
    device = event.device or context.device
    return event.form.parse(event.data, context._replace(device=device))
