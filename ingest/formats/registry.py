"""
The table of formats: the one place where a content type meets what reads it.

Adding a format is a folder beside this file and a line in `_PLAIN`.
"""

from ingest.formats import cloudevents, native, senml
from ingest.formats.interface import Format

#: Those that hold readings themselves; CloudEvents carries each of them.
_PLAIN = (
    native.FORMAT,
    senml.FORMAT,
)
_INNER = {one.content_type: one for one in _PLAIN}

#: By content type.
FORMATS: dict[str, Format] = {
    one.content_type: one for one in (*_PLAIN, *cloudevents.around(_INNER))
}


def find_format(content_type: str | None) -> Format | None:
    """Return the format of a Content-Type header; None: nothing reads it."""
    if content_type is None:
        return None
    found = FORMATS.get(content_type)
    if found is not None:
        return found
    return FORMATS.get(content_type.partition(";")[0].strip().lower())
