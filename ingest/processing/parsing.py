"""What a stored body says: read by its format, or an error in its place."""

from datetime import datetime

from ingest.formats.interface import Context
from ingest.formats.parsed import Parsed
from ingest.formats.registry import find_format


def parse_body(
    content_type: str,
    body: bytes | None,
    *,
    now: datetime,
    received_at: datetime,
) -> Parsed:
    """Return what a body says; one that cannot be read is an error, no exception."""
    if body is None:
        return _refused("body_gone", "The raw body is past its retention.")
    form = find_format(content_type)
    if form is None:
        return _refused("content_type_unknown", "No parser reads this content type.")
    return form.parse(body, Context(now=now, received_at=received_at))


def _refused(code: str, detail: str) -> Parsed:
    parsed = Parsed()
    parsed.refuse(None, code, detail)
    return parsed
