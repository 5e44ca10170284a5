"""
The table of formats: the one place where a content type meets what reads it.

Adding a format is a folder and a line in `_PLAIN`.
"""

from ingest.formats import native
from ingest.formats.interface import Format

#: Each is a folder beside this file.
_PLAIN = (native.FORMAT,)

#: By content type.
FORMATS: dict[str, Format] = {one.content_type: one for one in _PLAIN}


def find_format(content_type: str | None) -> Format | None:
    """Return the format of a Content-Type header; None: nothing reads it."""
    if content_type is None:
        return None
    found = FORMATS.get(content_type)
    if found is not None:
        return found
    return FORMATS.get(content_type.partition(";")[0].strip().lower())
