"""Whatever a receiver answers in HTTP/2: the deadline and the memory hold as well."""

import ssl
import struct
import threading
from contextlib import ExitStack
from pathlib import Path
from socket import socket

import pytest
from hpack import Encoder

from subscriptions.http import Outcome, authorities
from subscriptions.tests.hostile_receivers import (
    HostileReceiver,
    Script,
    check_bounds,
    met,
    says,
    stays,
    then,
)
from subscriptions.tests.tls_receivers import Authority

DATA, HEADERS, RESET, SETTINGS, PUSH, PING, AWAY, WINDOW, MORE = (0, 1, *range(3, 10))
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    head = struct.pack(">I", len(payload))[1:] + bytes([kind, flags])
    return head + struct.pack(">I", stream) + payload


def head(status: str, **fields: str) -> bytes:
    return Encoder().encode([(":status", status), *fields.items()])


HELLO = frame(SETTINGS, 0, 0)
OK = frame(HEADERS, END_HEADERS, 1, head("200"))
#: One field of 4,000 bytes, then 16,000 references to it: a byte each.
BOMB = frame(HEADERS, 0, 1, head("200", x="y" * 4000)) + frame(
    MORE, 0, 1, bytes([0x80 | 62]) * 16_000
)

#: By name: what is sent once and for ever, and the error and status of an attempt.
HOSTILE: dict[str, tuple[bytes, bytes, str, int | None]] = {
    "endless body": (OK, frame(DATA, 0, 1, bytes(16_384)), "", 200),
    "endless empty data": (OK, frame(DATA, 0, 1) * 500, "response_invalid", 200),
    "HPACK bomb": (BOMB, BOMB, "response_invalid", 200),
    "1xx storm": (
        b"",
        frame(HEADERS, END_HEADERS, 1, head("103", x="y" * 50)) * 200,
        "response_invalid",
        103,
    ),
    "push": (
        b"",
        frame(PUSH, END_HEADERS, 1, struct.pack(">I", 2) + head("200")),
        "response_invalid",
        None,
    ),
    "reset": (b"", frame(RESET, 0, 1, struct.pack(">I", 8)), "response_invalid", None),
    "no room for a stream": (
        frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 0)),
        b"",
        "timeout",
        None,
    ),
    "no room for a body": (
        frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)),
        b"",
        "timeout",
        None,
    ),
    "endless window updates": (
        b"",
        frame(WINDOW, 0, 0, struct.pack(">I", 1)) * 500,
        "timeout",
        None,
    ),
    "junk": (b"", b"\xff" * 1000, "response_invalid", None),
}


def over_tls(context: ssl.SSLContext, script: Script) -> Script:
    """Behave so once HTTP/2 was agreed on."""

    def behave(plain: socket, over: threading.Event) -> None:
        with context.wrap_socket(plain, server_side=True) as peer:
            peer.recv(65536)
            script(peer, over)

    return behave


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Meet all of them at once."""
    authority = Authority(Path(tmp_path_factory.mktemp("authority")))
    context = authority.context()
    context.set_alpn_protocols(["h2"])
    receivers = {
        name: HostileReceiver(
            over_tls(
                context,
                then(says(HELLO + once), says(again, again=True) if again else stays),
            ),
            reads=False,
        )
        for name, (once, again, _, _) in HOSTILE.items()
    }
    urls = {name: f"https://localhost:{one.port}/" for name, one in receivers.items()}
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("SSL_CERT_FILE", str(authority.bundle))
        authorities.cache_clear()
        stack.callback(authorities.cache_clear)
        return met(list(receivers.values()), urls)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answer_in_http_2_ends_within_its_bounds(
    outcomes: dict[str, Outcome], name: str
) -> None:
    _, _, error, status_code = HOSTILE[name]
    check_bounds(outcomes[name], error, status_code)
