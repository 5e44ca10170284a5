"""Bodies that are small to send and dear to read (R39); each at most 10 MiB."""

import json
from collections.abc import Callable

LIMIT = 10 * 1024 * 1024
_START = b'{"transaction_id":"%s","device":"WM-1","readings":['


def _inside(name: str, readings: bytes) -> bytes:
    return _START % name.encode() + readings + b"]}"


def _beside(name: str, members: bytes) -> bytes:
    return _START % name.encode() + b"]," + members + b"}"


def _many(piece: bytes, count: int) -> bytes:
    return b",".join([piece] * count)


def filled(name: str, piece: bytes, limit: int = LIMIT) -> bytes:
    """Return as many of the same reading as there is room for; `%d` is its number."""
    numbers = piece.count(b"%d")
    each = len(piece) + 1 + 4 * numbers
    count = (limit - len(_inside(name, b""))) // each
    if not numbers:
        return _inside(name, _many(piece, count))
    return _inside(name, b",".join(piece % number for number in range(count)))


def _colliding(count: int) -> bytes:
    """Return members whose names differ only behind a long common start."""
    return b",".join(b'"%s%06d":0' % (b"A" * 40, n) for n in range(count))


_GOOD = (
    b'{"channel":"%s","at":"2016-01-01T00:00:00Z","duration_s":3600,'
    b'"value":"1","unit":"kWh"}'
)
_REGISTER = b'{"at":"2016-01-01T00:00:00Z","kind":"register","value":1,"unit":"l"}'

BOMBS: dict[str, Callable[[str], bytes]] = {
    "arrays 100,000 deep": lambda n: _inside(n, b"[" * 100_000 + b"]" * 100_000),
    "objects 100,000 deep": lambda n: _beside(
        n, b'"x":' + b'{"a":' * 100_000 + b"0" + b"}" * 100_000
    ),
    "arrays 5 million deep": lambda n: _inside(n, b"[" * 5_000_000),
    "a million members": lambda n: _beside(
        n, b",".join(b'"%d":0' % k for k in range(700_000))
    ),
    "one member a million times": lambda n: _beside(n, _many(b'"a":0', 1_000_000)),
    "readings 500,000 times": lambda n: _beside(n, _many(b'"readings":[]', 500_000)),
    "transaction ids 400,000 times": lambda n: _beside(
        n, _many(b'"transaction_id":"t"', 400_000)
    ),
    "names that nearly collide": lambda n: _beside(n, _colliding(190_000)),
    "a number of 10 MB": lambda n: _inside(n, b'{"value":%s}' % (b"9" * (LIMIT - 200))),
    "a number of 5,000 digits": lambda n: _inside(n, b'{"value":%s}' % (b"9" * 5_000)),
    "an exponent of 10 MB": lambda n: _inside(
        n, b'{"value":1e%s}' % (b"9" * (LIMIT - 200))
    ),
    "a text of 10 MB": lambda n: _beside(n, b'"x":"%s"' % (b"x" * (LIMIT - 200))),
    "a device of 10 MB": lambda n: _inside(
        n, b'{"device":"%s"}' % (b"x" * (LIMIT - 200))
    ),
    "escapes of 10 MB": lambda n: _beside(n, b'"x":"%s"' % (b"\\u00e9" * 1_700_000)),
    "NUL in the last of many": lambda n: _inside(
        n, _many(b"{}", 900_000) + b',{"device":"\\u0000"}'
    ),
    "quotes of 10 MB": lambda n: _beside(n, b'"x":"%s"' % (b'\\"' * 5_000_000)),
    "brackets in texts": lambda n: _beside(n, _many(b'"[{":"}]"', 1_000_000)),
    "white space of 10 MB": lambda n: _inside(n, b" " * (LIMIT - 200)),
    "a million zeros": lambda n: _inside(n, _many(b"0", 1_000_000)),
    "a million empty readings": lambda n: _inside(n, _many(b"{}", 999_990)),
    "empty readings of 10 MB": lambda n: filled(n, b"{}"),
    "zeros of 10 MB": lambda n: filled(n, b"0"),
    "empty arrays of 10 MB": lambda n: filled(n, b"[]"),
}

#: Readings that a worker looks at one by one, as many as a body has room for.
DEAR: dict[str, bytes] = {
    "NUL where nothing is stored": b'{"note":"\\u0000"}',
    "wrong times": b'{"at":"x"}',
    "the same register": _REGISTER,
    "the same interval": _GOOD % b"main",
    "one channel for each": _GOOD % b"c%d",
}


def _records(piece: bytes) -> Callable[[str], bytes]:
    """Return a SenML pack, or a batch of CloudEvents, of a million of these."""
    return lambda _: (
        b"[" + _many(piece, min(1_000_000, LIMIT // (len(piece) + 1))) + b"]"
    )


#: By content type, beside the native ones.
OTHER_BOMBS: dict[str, dict[str, Callable[[str], bytes]]] = {
    "application/senml+json": {
        "zeros": _records(b"0"),
        "empty records": _records(b"{}"),
        "NUL in the last record": lambda _: (
            b"[" + _many(b"{}", 999_000) + b',{"n":"\\u0000"}]'
        ),
        "base values all over": _records(b'{"bn":"x","bt":1,"bv":1,"v":1}'),
        "times that add up": _records(b'{"bt":1e300,"t":1e300,"v":1}'),
        "one long name": lambda _: b'[{"n":"%s","v":1}]' % (b"x" * (LIMIT - 100)),
    },
    "application/cloudevents-batch+json": {
        "zeros": _records(b"0"),
        "empty events": _records(b"{}"),
        "arrays 100,000 deep": lambda _: b"[" * 100_000 + b"]" * 100_000,
    },
    "application/cloudevents+json": {
        "a million extensions": lambda _: (
            b"{" + b",".join(b'"x%d":0' % k for k in range(700_000)) + b"}"
        ),
        "an event in an event": lambda _: b'{"data":' * 100_000 + b"0" + b"}" * 100_000,
    },
}

#: Texts that programs have choked on, for every field that is stored and shown.
NAUGHTY = [
    "undefined", "null", "NULL", "(null)", "None", "true", "hasOwnProperty",
    "__proto__", "constructor", "0", "-1", "1/0", "NaN", "1e309", "0x0", "1,000.00",
    "'", '"', "`", "\\", "\\\\", "--", "';--", "' OR '1'='1", "1; DROP TABLE reading",
    "%", "%s%n%x", "%00", "{0}", "{{7*7}}", "${7*7}", "#{7*7}", "<%= 7*7 %>",
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"><svg/onload=1>',
    "javascript:alert(1)", "&lt;b&gt;", "<!--", "]]>", "<?xml version='1.0'?>",
    "=1+1", "+1+1", "-1+1", "@SUM(1)", "=cmd|' /C calc'!A0", "\t=1+1",
    "../../etc/passwd", "..\\..\\x", "file:///etc/passwd", "C:\\con", "$(id)", "`id`",
    "; ls", "| ls", "\x7f", "\x1b[31mred", "\x1b]0;t\x07", "\u0000x"[1:], "a\nb",
    "a\r\nSet-Cookie: x=1", "a\tb", " ", "  leading", "trailing  ", "\u00a0",
    "\u200b", "\u200d", "\ufeff", "\u202egnirts", "\u2066x\u2069", "\u2028", "\u0301",
    "Z\u0351\u036f\u0343\u036a\u0342\u036ba\u035c\u0361l\u0321\u034ago", "\ufffd",
    "\uffff", "\ue000", "\U0010ffff", "\U0001f469\u200d\U0001f4bb",
    "\U0001f1e7\U0001f1ea", "\u4e2d\u6587",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629", "\ufdfd", "\u0130\u0131", "\u00df",
    "\ufb03", "Stra\u00dfe", "x" * 255, "\U0001f600" * 255, "caf\u00e9", "cafe\u0301",
]  # fmt: skip


def naughty_body(name: str) -> bytes:
    """Return a callback in which each text stands as device, channel and unit."""
    moment = "2016-01-01T00:00:00Z"
    frame = {"at": moment, "duration_s": 3600, "value": "1"}
    readings = [
        {**frame, "device": text, "channel": text, "unit": text[:16]}
        for text in NAUGHTY
    ]
    return json.dumps({"transaction_id": name, "readings": readings}).encode()
