"""Which parser reads which content type."""

from collections.abc import Callable
from datetime import datetime

from ingest.formats import native
from ingest.formats.parsed import Parsed

#: Content type → parser of a body.
PARSERS: dict[str, Callable[..., Parsed]] = {"application/json": native.parse}


def parse_body(content_type: str, body: bytes | None, *, now: datetime) -> Parsed:
    """Return what a body says; one that cannot be read is an error, no exception."""
    if body is None:
        return _refused("body_gone", "The raw body is past its retention.")
    parser = PARSERS.get(content_type.partition(";")[0].strip().lower())
    if parser is None:
        return _refused("content_type_unknown", "No parser reads this content type.")
    return parser(body, now=now)


def _refused(code: str, detail: str) -> Parsed:
    parsed = Parsed()
    parsed.refuse(None, code, detail)
    return parsed
