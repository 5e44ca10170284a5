"""
Signature headers as honest, careless and hostile senders write them.

A case makes the headers out of what is right: for `hub` the 64 digits, for `standard`
the id, the moment and the base64. `True` means that the listener takes it.
"""

import base64
import hashlib
from collections.abc import Callable
from typing import NamedTuple

NAME = "x-hub-signature-256"
OLD_NAME = "x-hub-signature"
Headers = list[tuple[str, str]]


class Hub(NamedTuple):
    """A case of the `hub` scheme: from the right digits to headers."""

    name: str
    is_taken: bool
    headers: Callable[[str], Headers]


def _one(name: str, text: str, *, is_taken: bool = False) -> Hub:
    """Return a case with one header; `{}` stands for the digits."""
    return Hub(name, is_taken, lambda digits: [(NAME, text.replace("{}", digits))])


def _raw(digits: str) -> bytes:
    return bytes.fromhex(digits)


def _cyrillic(digits: str) -> str:
    """Return the digits with a letter that only looks the same."""
    return digits.translate({ord("a"): "\u0430", ord("c"): "\u0441"})


HUB: list[Hub] = [
    _one("as it should be", "sha256={}", is_taken=True),
    Hub("the older name", True, lambda d: [(OLD_NAME, f"sha256={d}")]),
    Hub("upper-case digits", True, lambda d: [(NAME, f"sha256={d.upper()}")]),
    Hub("digits of mixed case", True, lambda d: [(NAME, f"sha256={d.title()}")]),
    Hub("no header", False, lambda _: []),
    _one("empty", ""),
    _one("only spaces", "   "),
    _one("only the prefix", "sha256="),
    _one("no prefix", "{}"),
    _one("prefix in upper case", "SHA256={}"),
    _one("prefix of mixed case", "Sha256={}"),
    _one("prefix of another hash", "sha1={}"),
    _one("prefix of a longer hash", "sha512={}"),
    _one("prefix with a dash", "sha-256={}"),
    _one("prefix with a colon", "sha256:{}"),
    _one("prefix twice", "sha256=sha256={}"),
    _one("prefix ends in two signs", "sha256=={}"),
    _one("space before the prefix", " sha256={}"),
    _one("space behind the prefix", "sha256= {}"),
    _one("space behind the digits", "sha256={} "),
    _one("tab behind the digits", "sha256={}\t"),
    _one("tab before the digits", "sha256=\t{}"),
    _one("line end behind the digits", "sha256={}\n"),
    _one("folded line", "sha256=\r\n {}"),
    _one("no-break space behind", "sha256={}\u00a0"),
    _one("NUL behind the digits", "sha256={}\0"),
    _one("NUL before the digits", "sha256=\0{}"),
    _one("one digit too many", "sha256={}0"),
    _one("a whole byte too many", "sha256={}00"),
    _one("two signatures in one", "sha256={}{}"),
    _one("list with itself", "sha256={}, sha256={}"),
    _one("list with a wrong one", "sha256={},sha256=00"),
    _one("semicolon behind", "sha256={};v=1"),
    _one("in quotes", '"sha256={}"'),
    _one("digits in quotes", 'sha256="{}"'),
    _one("with 0x", "sha256=0x{}"),
    _one("key and value of another form", "t=1,v1={}"),
    _one("percent-encoded sign", "sha256%3D{}"),
    _one("header of 64 KiB", "sha256={}" + "0" * 65_536),
    _one("64 KiB before it", "0" * 65_536 + "sha256={}"),
    Hub("63 digits", False, lambda d: [(NAME, f"sha256={d[:-1]}")]),
    Hub("65 digits in front", False, lambda d: [(NAME, f"sha256=0{d}")]),
    Hub("half of the digits", False, lambda d: [(NAME, f"sha256={d[:32]}")]),
    Hub("one digit", False, lambda d: [(NAME, f"sha256={d[0]}")]),
    Hub("digits backwards", False, lambda d: [(NAME, f"sha256={d[::-1]}")]),
    Hub("all zeros", False, lambda _: [(NAME, "sha256=" + "0" * 64)]),
    Hub("no hexadecimal digits", False, lambda _: [(NAME, "sha256=" + "g" * 64)]),
    Hub("full-width digits", False, lambda d: [(NAME, f"sha256={_wide(d)}")]),
    Hub("Cyrillic digits", False, lambda d: [(NAME, f"sha256={_cyrillic(d)}")]),
    Hub("Arabic digits", False, lambda _: [(NAME, "sha256=" + "\u0661" * 64)]),
    Hub("half a surrogate pair", False, lambda d: [(NAME, f"sha256={d}\udcff")]),
    Hub("a byte that is not ASCII", False, lambda d: [(NAME, f"sha256={d}\xff")]),
    Hub(
        "base64 of the right bytes",
        False,
        lambda d: [(NAME, "sha256=" + base64.b64encode(_raw(d)).decode())],
    ),
    Hub(
        "the right bytes themselves",
        False,
        lambda d: [(NAME, "sha256=" + _raw(d).decode("latin-1"))],
    ),
    Hub(
        "digits in bytes with colons",
        False,
        lambda d: [(NAME, "sha256=" + ":".join(_pairs(d)))],
    ),
    Hub(
        "a hash without a key",
        False,
        lambda _: [(NAME, "sha256=" + hashlib.sha256(b"x").hexdigest())],
    ),
    Hub("twice the same", False, lambda d: [(NAME, f"sha256={d}")] * 2),
    Hub(
        "right, then wrong",
        False,
        lambda d: [(NAME, f"sha256={d}"), (NAME, "sha256=" + "0" * 64)],
    ),
    Hub(
        "wrong, then right",
        False,
        lambda d: [(NAME, "sha256=" + "0" * 64), (NAME, f"sha256={d}")],
    ),
    Hub(
        "both names",
        False,
        lambda d: [(NAME, f"sha256={d}"), (OLD_NAME, f"sha256={d}")],
    ),
    Hub(
        "both names, one of them empty",
        False,
        lambda d: [(NAME, f"sha256={d}"), (OLD_NAME, "")],
    ),
    Hub("the older name, of its hash", False, lambda d: [(OLD_NAME, f"sha1={d[:40]}")]),
    Hub("another header", False, lambda d: [("x-signature", f"sha256={d}")]),
    Hub("the proxy's header", False, lambda d: [("signature", f"sig1=:{d}:")]),
    Hub("authorization", False, lambda d: [("authorization", f"Bearer {d}")]),
]


def _wide(digits: str) -> str:
    return "".join(chr(ord(digit) + 0xFEE0) for digit in digits)


def _pairs(digits: str) -> list[str]:
    return [digits[at : at + 2] for at in range(0, len(digits), 2)]


class Right(NamedTuple):
    """What the three headers of `standard` say when they are right."""

    identifier: str
    timestamp: str
    signature: str

    def headers(self, **other: str) -> Headers:
        """Return them; `identifier`, `timestamp`, `signature` replace one."""
        told = self._replace(**other)
        return [
            ("webhook-id", told.identifier),
            ("webhook-timestamp", told.timestamp),
            ("webhook-signature", told.signature),
        ]


class Standard(NamedTuple):
    """A case of the `standard` scheme: from what is right to headers."""

    name: str
    is_taken: bool
    headers: Callable[[Right], Headers]


def _signature(name: str, text: str, *, is_taken: bool = False) -> Standard:
    """Return a case with another signature; `{}` stands for the right one."""
    return Standard(
        name,
        is_taken,
        lambda right: right.headers(signature=text.replace("{}", right.signature)),
    )


def _moment(name: str, change: Callable[[str], str]) -> Standard:
    return Standard(
        name, False, lambda right: right.headers(timestamp=change(right.timestamp))
    )


def _without(*names: str) -> Standard:
    return Standard(
        f"without {' and '.join(names)}",
        False,
        lambda right: [item for item in right.headers() if item[0] not in names],
    )


def _twice(name: str) -> Standard:
    return Standard(
        f"{name} twice",
        False,
        lambda right: [
            *right.headers(),
            *(item for item in right.headers() if item[0] == name),
        ],
    )


_ARABIC = {ord("0") + n: chr(0x0660 + n) for n in range(10)}
_JUNK = "v1," + "A" * 43 + "="

STANDARD: list[Standard] = [
    _signature("as it should be", "{}", is_taken=True),
    _signature("behind a wrong one", f"{_JUNK} {{}}", is_taken=True),
    _signature("before a wrong one", f"{{}} {_JUNK}", is_taken=True),
    _signature("among other versions", "v1a,x v2,y {} v3,", is_taken=True),
    _signature("empty items around it", "  {}  ", is_taken=True),
    _signature("empty", ""),
    _signature("only the version", "v1,"),
    _signature("only a wrong one", _JUNK),
    _signature("version in upper case", "V{}"),
    _signature("version doubled", "v1,{}"),
    _signature("list with commas", "{},{}"),
    _signature("tab between", "{}\t{}"),
    _signature("line end behind", "{}\n"),
    _signature("NUL behind", "{}\0"),
    _signature("padding behind", "{}="),
    _signature("a byte that is not ASCII", "{}\xff"),
    _signature("half a surrogate pair", "{}\udcff"),
    _signature("64 KiB of wrong ones", f"{_JUNK} " * 1_300),
    Standard("no padding", False, lambda r: r.headers(signature=r.signature[:-1])),
    Standard(
        "no version",
        False,
        lambda r: r.headers(signature=r.signature.removeprefix("v1,")),
    ),
    Standard(
        "another version",
        False,
        lambda r: r.headers(signature=r.signature.replace("v1,", "v2,")),
    ),
    Standard(
        "an asymmetric version",
        False,
        lambda r: r.headers(signature=r.signature.replace("v1,", "v1a,")),
    ),
    Standard(
        "as hexadecimal digits",
        False,
        lambda r: r.headers(
            signature="v1," + base64.b64decode(r.signature[3:]).hex(),
        ),
    ),
    Standard(
        "letters of the other case",
        False,
        lambda r: r.headers(signature="v1," + r.signature[3:].swapcase()),
    ),
    Standard("another id", False, lambda r: r.headers(identifier=f"{r.identifier}x")),
    Standard("an empty id", False, lambda r: r.headers(identifier="")),
    Standard("an id of 64 KiB", False, lambda r: r.headers(identifier="m" * 65_536)),
    Standard(
        "id and moment change places",
        False,
        lambda r: r.headers(identifier=r.timestamp, timestamp=r.identifier),
    ),
    Standard(
        "the dot moves from one to the other",
        False,
        lambda r: r.headers(
            identifier=f"{r.identifier}.{r.timestamp[:3]}", timestamp=r.timestamp[3:]
        ),
    ),
    _moment("a second later", lambda text: str(int(text) + 1)),
    _moment("310 s ago", lambda text: str(int(text) - 310)),
    _moment("310 s ahead", lambda text: str(int(text) + 310)),
    _moment("in milliseconds", lambda text: f"{text}000"),
    _moment("zero", lambda _: "0"),
    _moment("negative", lambda text: f"-{text}"),
    _moment("with a sign", lambda text: f"+{text}"),
    _moment("with a fraction", lambda text: f"{text}.0"),
    _moment("with an exponent", lambda text: f"{text}e0"),
    _moment("with a leading zero", lambda text: f"0{text}"),
    _moment("with a space", lambda text: f" {text}"),
    _moment("with an underscore", lambda text: f"{text[:3]}_{text[3:]}"),
    _moment("hexadecimal", lambda text: hex(int(text))),
    _moment("a date", lambda _: "2026-01-01T00:00:00Z"),
    _moment("not a number", lambda _: "NaN"),
    _moment("5,000 digits", lambda _: "9" * 5_000),
    _moment("Arabic digits", lambda text: text.translate(_ARABIC)),
    _moment("a superscript", lambda text: f"{text[:-1]}\u00b2"),
    _moment("no moment", lambda _: ""),
    _without("webhook-id"),
    _without("webhook-timestamp"),
    _without("webhook-signature"),
    _without("webhook-id", "webhook-timestamp", "webhook-signature"),
    _twice("webhook-id"),
    _twice("webhook-timestamp"),
    _twice("webhook-signature"),
    Standard(
        "headers of another name",
        False,
        lambda r: [(f"svix-{name[8:]}", value) for name, value in r.headers()],
    ),
]
