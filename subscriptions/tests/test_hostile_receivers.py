"""Whatever a receiver answers: the slot is free at the deadline, and memory is flat."""

import zlib

import pytest

from subscriptions.http import Outcome
from subscriptions.tests.hostile_receivers import (
    HostileReceiver,
    Script,
    check_bounds,
    met,
    resets,
    says,
    stays,
    then,
)

ZEROS = bytes(65536)


def bomb() -> bytes:
    """Return 100 MB of nothing, compressed."""
    packer = zlib.compressobj(1, wbits=31)
    return b"".join([packer.compress(ZEROS) for _ in range(1600)]) + packer.flush()


OK = b"HTTP/1.1 200 OK\r\n"
BOMB = bomb()
CHUNK = b"10000\r\n" + ZEROS + b"\r\n"

#: By name: how it behaves, and the error and status that an attempt then has.
HOSTILE: dict[str, tuple[Script, str, int | None]] = {
    "endless body": (
        then(
            says(OK + b"Content-Length: 99999999999\r\n\r\n"), says(ZEROS, again=True)
        ),
        "",
        200,
    ),
    "endless body without a length": (
        then(says(OK + b"\r\n"), says(ZEROS, again=True)),
        "",
        200,
    ),
    "endless chunks": (
        then(says(OK + b"Transfer-Encoding: chunked\r\n\r\n"), says(CHUNK, again=True)),
        "",
        200,
    ),
    "endless chunk extension": (
        then(
            says(OK + b"Transfer-Encoding: chunked\r\n\r\n1;a="),
            says(b"x" * 65536, again=True),
        ),
        "timeout",
        200,
    ),
    "endless trailers": (
        then(
            says(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"),
            says(b"X-Trailer: %s\r\n" % (b"y" * 1000), again=True),
        ),
        "response_invalid",
        200,
    ),
    "head by drips": (
        says(*(bytes([octet]) for octet in OK), pause_s=0.2),
        "timeout",
        None,
    ),
    "body by drips": (
        then(
            says(OK + b"Content-Length: 1000\r\n\r\n"),
            says(b"x", pause_s=0.1, again=True),
        ),
        "timeout",
        200,
    ),
    "100 MB of headers": (
        then(says(OK), says(*[b"X-A: %s\r\n" % (b"y" * 65536)] * 1600)),
        "response_invalid",
        200,
    ),
    "a header line without an end": (
        then(says(OK + b"X-A: "), says(b"y" * 65536, again=True)),
        "response_invalid",
        200,
    ),
    "1xx storm": (
        says(b"HTTP/1.1 102 Processing\r\n\r\n" * 100, again=True),
        "response_invalid",
        102,
    ),
    "1xx by drips": (
        says(b"HTTP/1.1 103 Early Hints\r\n\r\n", pause_s=0.1, again=True),
        "timeout",
        103,
    ),
    "redirect to metadata": (
        says(
            b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/\r\n"
            b"Content-Length: 0\r\n\r\n"
        ),
        "",
        302,
    ),
    "HTTP/0.9": (says(b"<html>hello</html>\r\n"), "response_invalid", None),
    "junk": (says(bytes(range(256)) * 64), "response_invalid", None),
    "another protocol": (says(b"220 mail ESMTP\r\n"), "response_invalid", None),
    "compressed bomb": (
        then(
            says(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(BOMB)),
            says(b"\r\n" + BOMB),
        ),
        "",
        200,
    ),
    "bomb as a transfer coding": (
        then(
            says(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n"),
            says(b"%x\r\n" % len(BOMB) + BOMB + b"\r\n0\r\n\r\n"),
        ),
        "response_invalid",
        200,
    ),
    "success, then a reset": (
        then(
            says(OK + b"Content-Length: 10\r\n\r\nabc", pause_s=0.05),
            resets,
        ),
        "connection_reset",
        200,
    ),
    "reset at once": (resets, "connection_reset", None),
    "close at once": (says(), "connection_reset", None),
    "more promised than sent": (
        says(OK + b"Content-Length: 4294967296\r\n\r\nabc"),
        "response_invalid",
        200,
    ),
    "a chunk of impossible size": (
        says(OK + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc"),
        "response_invalid",
        200,
    ),
    "two lengths": (
        says(OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
        "response_invalid",
        200,
    ),
    "silence": (stays, "timeout", None),
}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """Meet all of them at once, and one that behaves."""
    receivers = {name: HostileReceiver(one[0]) for name, one in HOSTILE.items()}
    stalls = HostileReceiver(stays, reads=False)
    well = HostileReceiver(says(b"HTTP/1.1 204 No Content\r\n\r\n"))
    urls = {name: f"http://127.0.0.1:{one.port}/" for name, one in receivers.items()}
    urls["TLS that stalls"] = f"https://127.0.0.1:{stalls.port}/"
    urls["well"] = f"http://127.0.0.1:{well.port}/"
    return met([*receivers.values(), stalls, well], urls)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answer_ends_within_its_bounds(
    outcomes: dict[str, Outcome], name: str
) -> None:
    _, error, status_code = HOSTILE[name]
    check_bounds(outcomes[name], error, status_code)


def test_compressed_bomb_is_kept_as_it_came(outcomes: dict[str, Outcome]) -> None:
    assert outcomes["compressed bomb"].body == BOMB[:65536]


def test_tls_that_stalls_ends_at_the_deadline(outcomes: dict[str, Outcome]) -> None:
    assert outcomes["TLS that stalls"].error == "timeout"


def test_receiver_beside_them_notices_nothing(outcomes: dict[str, Outcome]) -> None:
    assert outcomes["well"].status_code == 204
    assert outcomes["well"].duration_s < 1
