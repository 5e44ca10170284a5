"""Public ids: a prefix that says what it is, and a UUIDv7 that sorts by time."""

import re
from datetime import UTC, datetime
from uuid import UUID

from uuid_utils.compat import uuid7

_DIGITS = re.compile(r"[0-9a-f]{32}")


class IdentifierInvalid(ValueError):
    """The text is not a public id of the kind asked for."""


def new_id() -> UUID:
    """Return a fresh UUIDv7."""
    return uuid7()


def public_id(prefix: str, value: UUID) -> str:
    """Return `prefix_` and the id's 32 hex digits."""
    return f"{prefix}_{value.hex}"


def parse_public_id(prefix: str, text: str) -> UUID:
    """
    Return the id that the text stands for.

    Raises: IdentifierInvalid: another prefix, or not 32 hex digits in lower case.
    """
    found, _, digits = text.partition("_")
    if found != prefix or not _DIGITS.fullmatch(digits):
        raise IdentifierInvalid(f"An id here looks like {prefix}_ and 32 hex digits.")
    return UUID(hex=digits)


def created_at(value: UUID) -> datetime:
    """Return the moment at which a UUIDv7 was made, to the millisecond."""
    return datetime.fromtimestamp((value.int >> 80) / 1000, tz=UTC)


def first_id(moment: datetime) -> UUID:
    """Return the smallest UUIDv7 of a moment: where its things begin in an index."""
    return UUID(int=max(0, round(moment.timestamp() * 1000)) << 80)
