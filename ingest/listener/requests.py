"""What a transport brings to the listener, and the headers that it looks at."""

from collections.abc import AsyncIterator, Sequence
from string import hexdigits
from typing import Protocol
from urllib.parse import unquote_to_bytes

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
    }
)
FORWARDED = "x-forwarded-for"
#: A body above this size is large: looked at in a thread, and stored over a connection
#: of its own, so that small ones wait for neither.
LARGE_BYTES = 256 * 1024
#: Characters of a device's id.
DEVICE_LIMIT = 255

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


def forwarded(request: Request) -> list[str]:
    """Return the lines of `X-Forwarded-For`, in their order."""
    return [value for name, value in request.headers if name == FORWARDED]


def device_named(header: str | None) -> str | None:
    """
    Return the device that `X-Device-Id` names; None: none, or more than one.

    Its value is the id's UTF-8, in which any byte may stand as `%` and two hex digits,
    and `%` itself and all that is not visible ASCII must.
    """
    if not header or not header.isascii():
        return None
    if "%" in header:
        if any(not _is_escape(part) for part in header.split("%")[1:]):
            return None
        try:
            header = unquote_to_bytes(header).decode()
        except UnicodeDecodeError:
            return None
    return header if 1 <= len(header) <= DEVICE_LIMIT and "\0" not in header else None


def _is_escape(text: str) -> bool:
    """Tell whether what follows a `%` begins with two hex digits."""
    return len(text) > 1 and all(c in hexdigits for c in text[:2])
