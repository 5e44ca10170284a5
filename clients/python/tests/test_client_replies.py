"""What is made of any reply at all."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridhook_client import Client, Patience, Refused, SendFailed, Undecided
from gridhook_client.replies import receipt_of
from gridhook_client.sending import INTERIM_LIMIT, retry_after

DAY_S = 86_400
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"
RECEIPT = b'{"status": "accepted", "receipt": "rcp_1", "transaction_id": "t/1"}'
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n" % len(RECEIPT)
DOCUMENTS = st.dictionaries(st.text(), st.text()).map(json.dumps).map(str.encode)


def kind_of(status: int, body: bytes) -> str:
    """Return what the sender is told."""
    try:
        return receipt_of(status, body, "t/1").status
    except Refused:
        return "refused"
    except SendFailed:
        return "undecided"


@given(status=st.integers(200, 599), body=st.binary() | DOCUMENTS)
def test_any_reply_at_all_is_one_of_the_errors_and_no_receipt(
    status: int, body: bytes
) -> None:
    is_refused = 400 <= status < 500 and status not in {408, 429}
    assert kind_of(status, body) == ("refused" if is_refused else "undecided")


@given(text=st.text())
def test_no_retry_after_raises(text: str) -> None:
    assert 0 <= retry_after(text) <= DAY_S


def test_retry_after_is_seconds_or_a_date_and_nothing_else() -> None:
    soon = format_datetime(datetime.now(tz=UTC) + timedelta(seconds=90), usegmt=True)
    assert 80 < retry_after(soon) <= 90
    assert retry_after("120") == 120
    for text in ("86401", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"):
        assert retry_after(text) == DAY_S
    past = "Mon, 01 Jan 2001 00:00:00 GMT"
    for text in ("", "soon", "-5", "1.5", "\u0661", past, "Mon, 99 Foo 2001", "0"):
        assert retry_after(text) == 0


@contextmanager
def proxied(*replies: bytes) -> Iterator[Client]:
    """Send through what answers so, a reply a request, on one connection."""

    def serve() -> None:
        with suppress(OSError), door.accept()[0] as link:
            for said in replies:
                asked = b""
                while not asked.endswith(b"\r\n\r\n{}"):
                    asked += link.recv(65536)
                link.sendall(said)
            link.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as door:
        thread = Thread(target=serve)
        thread.start()
        patience = Patience(timeout_s=10, attempts=1)
        url = f"http://127.0.0.1:{door.getsockname()[1]}/"
        with Client(url, "secret", patience=patience) as sender:
            yield sender
        thread.join(10)


@pytest.mark.parametrize(
    "before", [EARLY, GO_ON + EARLY + GO_ON, EARLY * INTERIM_LIMIT]
)
def test_interim_replies_are_passed_over(before: bytes) -> None:
    replies = [before + ACCEPTED + RECEIPT] * 2
    with proxied(*replies) as sender:
        for _ in replies:
            assert sender.send_bytes("t/1", b"{}").attempts == 1


@pytest.mark.parametrize(
    ("endless", "words"),
    [
        (EARLY * (INTERIM_LIMIT + 1), "interim replies"),
        (EARLY.replace(b"103", b"101"), "101"),
    ],
)
def test_what_is_followed_by_no_reply_in_time_is_undecided(
    endless: bytes, words: str
) -> None:
    with (
        proxied(endless) as sender,
        pytest.raises(Undecided, match=words),
    ):
        sender.send_bytes("t/1", b"{}")
