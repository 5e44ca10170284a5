"""What a transport brings to the listener, and the headers that it looks at."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

_WANTED = frozenset(
    {
        "content-length",
        "content-type",
        "content-encoding",
        "x-hub-signature-256",
        "x-hub-signature",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "x-device-id",
        "x-forwarded-for",
    }
)

#: By name; None: it came more than once.
Headers = dict[str, str | None]


class BodyBroken(Exception):
    """The sender went away, or its framing is wrong."""


class Request(Protocol):
    """What a transport brings."""

    @property
    def method(self) -> str:
        """The method, in upper case."""

    @property
    def path(self) -> str:
        """The path, decoded, without the query."""

    @property
    def client(self) -> str:
        """The other end of the socket."""

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """The headers, names in lower case, repeated ones repeated."""

    async def read(self) -> bytes:
        """Return the whole body. Raises: BodyBroken."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Return the body piece by piece. Raises: BodyBroken."""


def pick(headers: Sequence[tuple[str, str]]) -> Headers:
    """Return the headers that matter here."""
    picked: Headers = {}
    for name, value in headers:
        if name in _WANTED:
            picked[name] = None if name in picked else value
    return picked
