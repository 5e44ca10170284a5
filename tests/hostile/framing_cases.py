"""
Requests whose framing is in doubt, as bytes (R41).

Each case is one connection. `outer` is a callback in order, signed; `smuggled` is a
second whole request, signed as well, that hides in it: it may only be reached where
HTTP leaves no doubt that it is a request of its own, which none of these does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

#: The statuses that a case may get; None: the connection may end, or wait, unanswered.
Statuses = frozenset[int | None]

TAKEN: Statuses = frozenset({202})
REFUSED: Statuses = frozenset({400, None})
UNSIGNED: Statuses = frozenset({401, 400, None})
OPEN: Statuses = frozenset({None})
EITHER: Statuses = TAKEN | UNSIGNED


@dataclass(frozen=True)
class Parts:
    """What a case is made of: the pieces of a request that is in order."""

    target: bytes
    signature: bytes
    body: bytes
    #: A whole request under another id.
    smuggled: bytes

    def head(
        self,
        *lines: bytes,
        line: bytes | None = None,
        host: bytes = b"Host: x",
    ) -> bytes:
        """Return a head with these header lines, which say how long the body is."""
        first = line or b"POST %s HTTP/1.1" % self.target
        own = (host, b"Content-Type: application/json", b"X-Hub-Signature-256: %s")
        block = b"\r\n".join([first, *own, *lines]) % self.signature
        return block + b"\r\n\r\n"

    def whole(self, *lines: bytes, line: bytes | None = None) -> bytes:
        """Return a request in order, but for these lines."""
        return self.head(*lines, self.length(), line=line) + self.body

    def length(self, more: int = 0, form: bytes = b"Content-Length: %d") -> bytes:
        """Return the line that says how long the body is, and so much more."""
        return form % (len(self.body) + more)

    def chunked(self, extension: bytes = b"", trailer: bytes = b"") -> bytes:
        """Return the body as one chunk."""
        size = b"%x%s\r\n" % (len(self.body), extension)
        return size + self.body + b"\r\n0\r\n" + trailer + b"\r\n"


class Case(NamedTuple):
    """A connection's bytes, and what its first reply may be."""

    name: str
    statuses: Statuses
    make: Callable[[Parts], bytes]


def _te(
    name: str, statuses: Statuses, value: bytes, *, ends: bytes | None = None
) -> Case:
    """Return a case with this Transfer-Encoding line, a chunked body, and a rider."""
    return Case(
        name,
        statuses,
        lambda p: (
            p.head(value, p.length(len(p.smuggled)))
            + p.chunked()
            + (p.smuggled if ends is None else ends)
        ),
    )


def _length(name: str, statuses: Statuses, *lines: bytes) -> Case:
    """Return a case with these length lines; `%d` stands for the right number."""
    return Case(
        name,
        statuses,
        lambda p: (
            p.head(*(line.replace(b"%d", b"%d" % len(p.body)) for line in lines))
            + p.body
            + p.smuggled
        ),
    )


def _chunk(name: str, statuses: Statuses, body: Callable[[Parts], bytes]) -> Case:
    """Return a case whose chunked body is in doubt."""
    return Case(
        name, statuses, lambda p: p.head(b"Transfer-Encoding: chunked") + body(p)
    )


def _line(name: str, statuses: Statuses, line: bytes) -> Case:
    """Return a case with another first line; `{}` stands for the target."""
    return Case(name, statuses, lambda p: p.whole(line=line.replace(b"{}", p.target)))


def _header(name: str, statuses: Statuses, *lines: bytes) -> Case:
    return Case(name, statuses, lambda p: p.whole(*lines))


_CHUNKED = b"Transfer-Encoding: chunked"

CASES: list[Case] = [
    # Two lengths: the rider begins where one of them ends.
    Case(
        "length, then chunked",
        EITHER,
        lambda p: (
            p.head(p.length(len(p.smuggled)), _CHUNKED) + p.chunked() + p.smuggled
        ),
    ),
    _te("chunked, then length", EITHER, _CHUNKED),
    _te("chunked in upper case, and length", EITHER, b"TRANSFER-ENCODING: CHUNKED"),
    _te("chunked twice, and length", EITHER, b"Transfer-Encoding: chunked, chunked"),
    _te("chunked behind a comma, and length", EITHER, b"Transfer-Encoding: , chunked"),
    _te("chunked before another", REFUSED, b"Transfer-Encoding: chunked, identity"),
    _te("identity", REFUSED, b"Transfer-Encoding: identity"),
    _te("gzip without chunked", REFUSED, b"Transfer-Encoding: gzip"),
    _te("chunked misspelt", REFUSED, b"Transfer-Encoding: xchunked"),
    _te("chunked in quotes", REFUSED, b'Transfer-Encoding: "chunked"'),
    _te("chunked with a vertical tab", REFUSED, b"Transfer-Encoding: \x0bchunked"),
    _te("chunked with a parameter", REFUSED, b"Transfer-Encoding: chunked;q=1"),
    _te("chunked with NUL", REFUSED, b"Transfer-Encoding: chunked\0"),
    _te("space before the colon", REFUSED, b"Transfer-Encoding : chunked"),
    _te("tab before the colon", REFUSED, b"Transfer-Encoding\t: chunked"),
    _te("space before the name", REFUSED, b" Transfer-Encoding: chunked"),
    _te("chunked on a folded line", REFUSED, b"Transfer-Encoding:\r\n chunked"),
    _te("a line end of its own kind", REFUSED, b"X: y\rTransfer-Encoding: chunked"),
    _te("empty value", REFUSED, b"Transfer-Encoding:"),
    Case(
        "chunked by HTTP/1.0",
        REFUSED,
        lambda p: (
            p.head(_CHUNKED, p.length(), line=b"POST %s HTTP/1.0" % p.target)
            + p.chunked()
            + p.smuggled
        ),
    ),
    _length(
        "two lengths, the right one first",
        REFUSED,
        b"Content-Length: %d",
        b"Content-Length: 0",
    ),
    _length(
        "two lengths, the right one last",
        REFUSED,
        b"Content-Length: 0",
        b"Content-Length: %d",
    ),
    _length("a list of lengths", REFUSED, b"Content-Length: %d, 0"),
    _length("length with a sign", REFUSED, b"Content-Length: +%d"),
    _length("negative length", REFUSED, b"Content-Length: -%d"),
    _length("length with a space in it", REFUSED, b"Content-Length: 1 0"),
    _length("hexadecimal length", REFUSED, b"Content-Length: 0x10"),
    _length("length with a fraction", REFUSED, b"Content-Length: %d.0"),
    _length("length with an exponent", REFUSED, b"Content-Length: 1e2"),
    _length("length that is no number", REFUSED, b"Content-Length: many"),
    _length("empty length", REFUSED, b"Content-Length:"),
    _length("length beyond 64 bits", REFUSED, b"Content-Length: 18446744073709551617"),
    _length("length of 5,000 digits", REFUSED, b"Content-Length: " + b"9" * 5_000),
    _length("space before the length's colon", REFUSED, b"Content-Length : %d"),
    _length("length on a folded line", REFUSED, b"Content-Length:\r\n %d"),
    # A body of one length only, that says something else inside.
    Case("length too short", UNSIGNED, lambda p: p.head(p.length(-5)) + p.body),
    Case("length too long", OPEN, lambda p: p.head(p.length(5)) + p.body),
    Case("no length at all", UNSIGNED, lambda p: p.head() + p.body),
    Case(
        "length that covers the rider",
        UNSIGNED,
        lambda p: p.head(p.length(len(p.smuggled))) + p.body + p.smuggled,
    ),
    # Chunks. A body that came whole, as it was signed, may be taken although what
    # follows it is broken; the connection ends there.
    _chunk(
        "chunk size with a sign", UNSIGNED, lambda p: b"+" + p.chunked() + p.smuggled
    ),
    _chunk("negative chunk size", UNSIGNED, lambda p: b"-" + p.chunked() + p.smuggled),
    _chunk("chunk size with 0x", UNSIGNED, lambda p: b"0x" + p.chunked() + p.smuggled),
    _chunk(
        "chunk size beyond 64 bits", UNSIGNED, lambda p: b"f" * 17 + b"\r\n" + p.body
    ),
    _chunk(
        "chunk size of 8 KiB of digits",
        EITHER,
        lambda p: b"0" * 8192 + p.chunked(),
    ),
    _chunk(
        "chunk size that is none", UNSIGNED, lambda p: b"zz\r\n" + p.body + p.smuggled
    ),
    _chunk("empty chunk size", UNSIGNED, lambda p: b"\r\n" + p.chunked() + p.smuggled),
    _chunk(
        "chunk longer than its size",
        UNSIGNED,
        lambda p: b"5\r\n" + p.body + b"\r\n0\r\n\r\n" + p.smuggled,
    ),
    _chunk(
        "chunk without its line end",
        EITHER,
        lambda p: p.chunked().replace(b"\r\n0\r\n", b"0\r\n") + p.smuggled,
    ),
    _chunk(
        "chunk ends in a bare line feed",
        EITHER,
        lambda p: p.chunked().replace(b"\r\n0", b"\n0") + p.smuggled,
    ),
    _chunk(
        "size ends in a bare carriage return",
        UNSIGNED,
        lambda p: p.chunked().replace(b"\r\n", b"\r", 1) + p.smuggled,
    ),
    _chunk("no last chunk", OPEN | UNSIGNED, lambda p: p.chunked()[:-5]),
    _chunk(
        "64 KiB of chunk extensions",
        EITHER,
        lambda p: p.chunked(b";a=" + b"b" * 65_536),
    ),
    _chunk(
        "extension with a line feed",
        UNSIGNED,
        lambda p: p.chunked(b";a\nb") + p.smuggled,
    ),
    _chunk(
        "a trailer that signs again",
        EITHER,
        lambda p: p.chunked(trailer=b"X-Hub-Signature-256: sha256=00\r\n"),
    ),
    _chunk(
        "a trailer with a length",
        EITHER,
        lambda p: p.chunked(trailer=b"Content-Length: 5\r\n"),
    ),
    _chunk(
        "64 KiB of trailers", EITHER, lambda p: p.chunked(trailer=b"X-A: b\r\n" * 9_000)
    ),
    # First lines.
    _line("HTTP/0.9 with a body", REFUSED, b"POST {}"),
    _line("HTTP/1.2", REFUSED, b"POST {} HTTP/1.2"),
    _line("HTTP/2.0 in words", REFUSED | {505}, b"POST {} HTTP/2.0"),
    _line("version in lower case", REFUSED, b"POST {} http/1.1"),
    _line("no version number", REFUSED, b"POST {} HTTP/"),
    _line("two spaces", REFUSED | TAKEN, b"POST  {} HTTP/1.1"),
    _line("tabs for spaces", REFUSED, b"POST\t{}\tHTTP/1.1"),
    _line("space in the path", REFUSED, b"POST {} x HTTP/1.1"),
    _line("NUL in the path", REFUSED, b"POST {}\0 HTTP/1.1"),
    _line("a byte beyond ASCII in the path", REFUSED | {401}, b"POST {}\xff HTTP/1.1"),
    _line("method in lower case", frozenset({405, 400}), b"post {} HTTP/1.1"),
    _line(
        "method of 10 KiB", frozenset({405, 400, None}), b"P" * 10_240 + b" {} HTTP/1.1"
    ),
    _line("method with a colon", REFUSED, b"PO:ST {} HTTP/1.1"),
    _line(
        "target of 100 KiB",
        REFUSED | {414, 404, 401, 431},
        b"POST {}" + b"a" * 102_400 + b" HTTP/1.1",
    ),
    _line("absolute form", TAKEN, b"POST http://x{} HTTP/1.1"),
    _line(
        "absolute form of another host",
        TAKEN | {400, 421},
        b"POST http://other{} HTTP/1.1",
    ),
    _line("absolute form without a host", TAKEN | REFUSED, b"POST http://{} HTTP/1.1"),
    _line("fragment", REFUSED | {401, 404, 202}, b"POST {}#x HTTP/1.1"),
    _line("parent of a path", frozenset({404, 401, 400}), b"POST /x/..{} HTTP/1.1"),
    _line("two slashes", frozenset({404, 401, 400}), b"POST /{} HTTP/1.1"),
    _line("authority form", frozenset({404, 400}), b"CONNECT other:443 HTTP/1.1"),
    _line("asterisk form", frozenset({404, 400}), b"OPTIONS * HTTP/1.1"),
    # Headers.
    _header("folded header", REFUSED, b"X-A: a\r\n b"),
    _header("header without a colon", REFUSED, b"X-A"),
    _header("header without a name", REFUSED, b": a"),
    _header("name with a space", REFUSED, b"X A: a"),
    _header("name beyond ASCII", REFUSED, b"X-\xff: a"),
    _header("name with NUL", REFUSED, b"X-\0: a"),
    _header("value with NUL", REFUSED, b"X-A: a\0b"),
    _header("value with a bare carriage return", REFUSED, b"X-A: a\rb"),
    _header("value beyond ASCII", EITHER, b"X-A: \xff\xfe"),
    _header("1,000 headers", REFUSED | {431}, *[b"X-A: b"] * 1_000),
    _header("a header of 1 MiB", REFUSED | {431}, b"X-A: " + b"b" * 1_048_576),
    _header("two hosts", EITHER, b"Host: y"),
    _header("an unknown expectation", TAKEN | {417, 400}, b"Expect: 200-ok"),
    _header(
        "upgrade to a web socket", TAKEN, b"Connection: Upgrade", b"Upgrade: websocket"
    ),
    _header(
        "upgrade to HTTP/2 in clear text",
        TAKEN,
        b"Connection: Upgrade, HTTP2-Settings",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAMAAABkAAQAAP__",
    ),
    _header("method in a header", TAKEN, b"X-HTTP-Method-Override: DELETE"),
    _header(
        "path in a header",
        TAKEN,
        b"X-Original-URL: /metrics",
        b"X-Rewrite-URL: /metrics",
    ),
    Case("no host", EITHER, lambda p: p.head(p.length(), host=b"X-A: a") + p.body),
    Case("line feeds alone", EITHER, lambda p: p.whole().replace(b"\r\n", b"\n")),
    Case(
        "carriage returns alone", REFUSED, lambda p: p.whole().replace(b"\r\n", b"\r")
    ),
    Case("empty lines before", EITHER, lambda p: b"\r\n\r\n" + p.whole()),
    Case("NULs before", REFUSED, lambda p: b"\0\0" + p.whole()),
    Case(
        "a TLS hello",
        REFUSED,
        lambda _: bytes.fromhex("16030100a5010000a10303") + b"x" * 160,
    ),
    Case(
        "HTTP/2 preface, then noise",
        OPEN | REFUSED,
        lambda p: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + p.smuggled,
    ),
    Case("half a head", OPEN, lambda p: p.whole()[:60]),
    Case("nothing but line ends", OPEN | REFUSED, lambda _: b"\r\n" * 1_000),
    Case("random bytes", REFUSED, lambda _: bytes(range(256)) * 8),
]
