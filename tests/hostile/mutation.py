"""
Requests in order, and what chance makes of them.

A mutated request is still a head and a body, so that it can go into the listener's core
as well as over a socket; `raw` gives its bytes, which `wreck` mutates once more without
respect for either. The same seed makes the same changes.
"""

import json
import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from ingest.tests.listening import Sender, callback

#: What parsers trip over.
JUNK = (
    b"\0", b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r\n", b"\n",
    b"\t",
    b"%00", b"%s", b"../", b"-1", b"9" * 400, b"1e400", b"1E-400", b"-0", b"0.1e",
    b"NaN", b"Infinity", b"null", b"true", b"{}", b"[]", b"[" * 70, b'{"":' * 70,
    b'"', b"\\", b"\\u0000", b"\\ud800", b"\\udc00\\ud800", b",", b":", b"}", b"]",
    b"\xe2\x80\xa8", b"A" * 300, b"sha256=", b"v1,", b"=", b" ", b"$(id)", b"'--",
    b"4294967296", b"18446744073709551616", b"0001-01-01T00:00:00Z", b"2016-13-45",
    b"9999-12-31T23:59:59+14:00", b"2016-01-01T00:00:00", b'"readings":', b"1" * 39,
)  # fmt: skip
#: JSON values that are valid, and nowhere expected.
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.5, 1e300, -1e-300, 2**63, 10**40, float(2**53) + 1,
    "", " ", "x", "x" * 256, "0", "-0", "NaN", "1e999", "9" * 60, "\u0000",
    "\u00e9", "%",
    "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "2016-01-01T00:00:00",
    "1.0", "application/json", "application/senml+json", "AAAA", "=", [], {},
    [[]], [{}],
    {"v": 1}, {"readings": []}, [{"v": 1, "t": 1e308}], {"at": None},
)  # fmt: skip
#: No mutated bytes grow beyond this.
_MOST_BYTES = 20_000
_NAMES = (
    b"content-type", b"content-length", b"content-encoding", b"x-hub-signature-256",
    b"x-hub-signature", b"webhook-id", b"webhook-timestamp", b"webhook-signature",
    b"x-device-id", b"x-forwarded-for", b"transfer-encoding", b"expect", b"connection",
)  # fmt: skip


@dataclass(frozen=True)
class Sent:
    """A request, in bytes."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def raw(self) -> bytes:
        """Return what travels."""
        lines = [b"%s %s HTTP/1.1" % (self.method, self.target), b"Host: x"]
        lines += [b"%s: %s" % header for header in self.headers]
        return b"\r\n".join(lines) + b"\r\n\r\n" + self.body


def in_order(sender: Sender, body: bytes) -> Sent:
    """Return a request that signs this body by the sender's scheme."""
    if sender.source.scheme == "standard":
        headers = sender.standard(body, message_id=f"m/{len(body)}")
    else:
        headers = sender.hub(body)
    headers["Content-Length"] = str(len(body))
    given = ((name.encode(), value.encode()) for name, value in headers.items())
    return Sent(b"POST", sender.path.encode(), tuple(given), body)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return every container below a value, with each of its keys."""
    found: list[tuple[Any, Any]] = []
    if isinstance(value, dict | list):
        keys = value if isinstance(value, dict) else range(len(value))
        for key in keys:
            found.append((value, key))
            found += _places(value[key])
    return found


class Chance:
    """Mutates requests of some senders; everything follows from the seed."""

    def __init__(self, seed: int, senders: list[Sender]) -> None:
        self._random = random.Random(seed)  # noqa: S311 (a seed, no secret)
        self._senders = senders
        self._bytes: list[Callable[[bytes], bytes]] = [
            self._flip, self._cut, self._truncate,
            self._repeat, self._insert, self._swap,
        ]  # fmt: skip
        self._heads: list[Callable[[Sent], Sent]] = [
            self._header_value, self._header_twice, self._header_gone,
            self._headers_shuffled, self._header_new, self._target, self._method,
        ]  # fmt: skip

    def request(self) -> Sent:
        """Return a mutated request; of most bodies the signature is right."""
        sender = self._random.choice(self._senders)
        body = self._fresh_body()
        if self._random.random() < 0.7:
            body = self.mutated(body)
        sent = in_order(sender, body)
        if self._random.random() < 0.5:
            for _ in range(self._random.randint(1, 3)):
                sent = self._random.choice(self._heads)(sent)
        if self._random.random() < 0.1:
            sent = replace(sent, body=self.mutated(sent.body))
        return sent

    def wreck(self, sent: Sent) -> bytes:
        """Return the request's bytes, mutated wherever chance wants it."""
        return self.mutated(sent.raw())

    def _fresh_body(self) -> bytes:
        return callback(str(UUID(int=self._random.getrandbits(128), version=4)))

    def mutated(self, data: bytes) -> bytes:
        """Return the bytes with one to four changes."""
        for _ in range(self._random.randint(1, 4)):
            data = self._random.choice(self._bytes)(data)[:_MOST_BYTES]
        return data

    def odd(self, body: bytes) -> bytes:
        """Return the JSON with one to three of its values exchanged for odd ones."""
        document = [json.loads(body)]
        for _ in range(self._random.randint(1, 3)):
            container, key = self._random.choice(_places(document))
            container[key] = deepcopy(self._random.choice(ODD))
        return json.dumps(document[0], ensure_ascii=False).encode("utf-8", "replace")

    def _place(self, data: bytes) -> int:
        return self._random.randrange(len(data) + 1)

    def _span(self, data: bytes) -> tuple[int, int]:
        start = self._place(data)
        return start, start + self._random.choice((1, 2, 8, 40))

    def _flip(self, data: bytes) -> bytes:
        changed = bytearray(data or b"\0")
        place = self._random.randrange(len(changed))
        changed[place] ^= 1 << self._random.randrange(8)
        return bytes(changed)

    def _cut(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:start] + data[end:]

    def _truncate(self, data: bytes) -> bytes:
        return data[: self._place(data)]

    def _repeat(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:end] + data[start:end] * self._random.choice((1, 3, 100))

    def _insert(self, data: bytes) -> bytes:
        place = self._place(data)
        return data[:place] + self._random.choice(JUNK) + data[place:]

    def _swap(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:start] + self._random.choice(JUNK) + data[end:]

    def _header_value(self, sent: Sent) -> Sent:
        headers = list(sent.headers)
        if not headers:
            return sent
        place = self._random.randrange(len(headers))
        name, value = headers[place]
        headers[place] = name, self._one_line(self.mutated(value))
        return replace(sent, headers=tuple(headers))

    def _header_twice(self, sent: Sent) -> Sent:
        return replace(sent, headers=(*sent.headers, *sent.headers[-1:]))

    def _header_gone(self, sent: Sent) -> Sent:
        place = self._random.randrange(len(sent.headers) + 1)
        headers = sent.headers[:place] + sent.headers[place + 1 :]
        return replace(sent, headers=headers)

    def _headers_shuffled(self, sent: Sent) -> Sent:
        headers = list(sent.headers)
        self._random.shuffle(headers)
        return replace(sent, headers=tuple(headers))

    def _header_new(self, sent: Sent) -> Sent:
        value = self._one_line(self._random.choice(JUNK))
        added = self._random.choice(_NAMES), value
        return replace(sent, headers=(*sent.headers, added))

    def _target(self, sent: Sent) -> Sent:
        return replace(sent, target=self._one_line(self.mutated(sent.target)))

    def _method(self, sent: Sent) -> Sent:
        method = self._random.choice((b"PUT", b"GET", b"HEAD", b"OPTIONS", b"post"))
        return replace(sent, method=method)

    def _one_line(self, value: bytes) -> bytes:
        """Return the value without line ends: those are `wreck`'s."""
        return value.replace(b"\r", b"").replace(b"\n", b"")
