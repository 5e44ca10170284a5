"""A request's headers, however the server at hand gives them."""

from collections.abc import Iterable
from itertools import islice
from typing import Any, Protocol

#: Of one request.
_MOST = 200


class HasItems(Protocol):
    """Headers by name: a mapping, or what a server or framework has for them."""

    def items(self) -> Iterable[tuple[Any, Any]]:
        """Return names and values."""


#: By name, or as the pairs in which a server got them; text, or bytes.
Headers = HasItems | Iterable[tuple[Any, Any]]


def pairs_of(headers: Headers) -> list[tuple[str, str]]:
    """
    Return names, in lower case, and values.

    Raises: ValueError: too many, or no pairs. What is no text is empty.
    """
    try:
        pairs = headers.items() if hasattr(headers, "items") else headers
        found = [(name, value) for name, value in islice(pairs, _MOST + 1)]
    except (TypeError, ValueError):
        raise ValueError("The headers are no pairs.") from None
    if len(found) > _MOST:
        raise ValueError("There are too many headers.")
    return [(_text(name).lower(), _text(value)) for name, value in found]


def _text(value: Any) -> str:
    """Return a header's text; servers of the ASGI kind give bytes."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else ""
