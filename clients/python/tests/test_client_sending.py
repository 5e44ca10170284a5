"""Sending callbacks, to real sockets that answer as they are told."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gridhook_client import (
    Client,
    Patience,
    Refused,
    SignatureRefused,
    TransactionConflict,
    Undecided,
)
from ingest.listener.requests import device_named
from tenants import signing
from tests.certificates import self_signed

#: The same in every process: names of tests have it.
SECRET = "whsec_ZkqqFwMul4WatUXJCQuzArCDun5GdmYkGqAN/1al6VM="  # noqa: S105 (a key of these tests alone)
AT = datetime(2026, 3, 29, 1, tzinfo=UTC)
BODY = b'{"transaction_id": "t/1",  "readings": []}\r\n'


def reply(status: int, document: Any = None, *headers: str) -> bytes:
    body = b"" if document is None else json.dumps(document).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def accepted(transaction_id: str = "t/1", status: str = "accepted") -> bytes:
    code = {"accepted": 202, "duplicate": 200}[status]
    document = {"status": status, "receipt": "rcp_1", "transaction_id": transaction_id}
    return reply(code, document)


@dataclass
class Scripted:
    """A server that gives these replies, one a request; empty: it hangs up."""

    replies: list[bytes | Callable[[socket.socket], None]]
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        host = "http://127.0.0.1" if self.tls is None else "https://localhost"
        return f"{host}:{self.port}/v1/callbacks/src_1"

    def serve(self, door: socket.socket) -> None:
        while self.replies:
            try:
                link, _ = door.accept()
            except OSError:
                return
            self.connections += 1
            with link, suppress(ssl.SSLError):
                self._converse(link)

    def _converse(self, link: socket.socket) -> None:
        if self.tls is not None:
            link = self.tls.wrap_socket(link, server_side=True)
        with link, link.makefile("rb") as lines:
            while self.replies and self._answer(link, lines):
                pass

    def _answer(self, link: socket.socket, lines: Any) -> bool:
        if not lines.readline():
            return False
        found = {}
        while (line := lines.readline()) not in {b"\r\n", b""}:
            name, _, value = line.decode("latin-1").partition(":")
            found[name.lower()] = value.strip()
        self.requests.append((found, lines.read(int(found["content-length"]))))
        said = self.replies.pop(0)
        if callable(said):
            said(link)
            return False
        link.sendall(said)
        return bool(said)


@contextmanager
def answering(*replies: Any, tls: ssl.SSLContext | None = None) -> Generator[Scripted]:
    with socket.create_server(("127.0.0.1", 0)) as door:
        server = Scripted(list(replies), port=door.getsockname()[1], tls=tls)
        thread = threading.Thread(target=server.serve, args=[door], daemon=True)
        thread.start()
        yield server
        door.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@dataclass
class Pauses:
    """Sleeps that are noted, not slept."""

    taken: list[float] = field(default_factory=list)

    def patience(self, **changes: Any) -> Patience:
        return Patience(sleep=self.taken.append, **changes)


def client(server: Scripted, scheme: str = "hub", **options: Any) -> Client:
    options.setdefault("patience", Pauses().patience())
    return Client(server.url, SECRET, scheme, **options)


def test_a_callback_is_signed_as_the_platform_verifies_it() -> None:
    with answering(accepted(), accepted()) as server:
        with client(server) as hub:
            receipt = hub.send_bytes("t/1", BODY)
        with client(server, "standard") as standard:
            standard.send_bytes("t/1", BODY)
    assert (receipt.status, receipt.receipt, receipt.attempts) == (
        "accepted",
        "rcp_1",
        1,
    )
    (first, body), (second, _) = server.requests
    assert body == BODY
    keys = [signing.hub_key(SECRET)]
    assert signing.verify_hub(keys, first["x-hub-signature-256"], BODY)
    assert second["webhook-id"] == "t/1"
    assert signing.verify_standard(
        [signing.standard_key(SECRET)],
        message_id=second["webhook-id"],
        timestamp=second["webhook-timestamp"],
        header=second["webhook-signature"],
        body=BODY,
        now_s=time.time(),
    )


def test_a_device_signs_with_its_own_key() -> None:
    name = "WM/1 é%"
    key = signing.device_key(signing.hub_key(SECRET), name)
    with (
        answering(accepted()) as server,
        Client(server.url, key.hex(), device=name) as device,
    ):
        device.send("t/1", [])
    ((sent, body),) = server.requests
    assert sent["x-device-id"] == "WM/1%20%C3%A9%25"
    assert device_named(sent["x-device-id"]) == name
    assert json.loads(body)["device"] == name
    assert signing.verify_hub([key], sent["x-hub-signature-256"], body)


def test_undecided_replies_are_tried_again_with_the_same_bytes_and_id() -> None:
    def half(link: socket.socket) -> None:
        link.sendall(b"HTTP/1.1 202 X\r\nContent-Length: 99\r\n\r\n{}")

    pauses = Pauses()
    unclear = [
        reply(503, {}, "Retry-After: 7"), reply(429), reply(500), reply(408),
        reply(302, None, "Location: /other"), reply(200, {"hello": "portal"}), half,
    ]  # fmt: skip
    patience = pauses.patience(attempts=20, longest_pause_s=3.0)
    with (
        answering(*unclear, accepted(status="duplicate")) as server,
        client(server, "standard", patience=patience) as sender,
    ):
        receipt = sender.send_bytes("t/1", BODY)
    assert (receipt.status, receipt.attempts) == ("duplicate", 8)
    assert {body for _, body in server.requests} == {BODY}
    assert {sent["webhook-id"] for sent, _ in server.requests} == {"t/1"}
    assert len(pauses.taken) == 7
    assert 7 <= pauses.taken[0] <= 8
    assert all(0 <= pause <= 3 for pause in pauses.taken[1:])


def test_pauses_double_and_are_spread() -> None:
    for _ in range(20):
        pauses = Pauses()
        with (
            answering(*[reply(500)] * 6, accepted()) as server,
            client(server, patience=pauses.patience(longest_pause_s=8.0)) as sender,
        ):
            sender.send_bytes("t/1", BODY)
        limits = [1, 2, 4, 8, 8, 8]
        assert all(map(float.__le__, pauses.taken, map(float, limits)))
        if sum(pauses.taken) > 8:
            return
    pytest.fail("Six pauses of up to 31 s never came to 8 s.")


def test_the_patience_ends_by_attempts_and_by_time() -> None:
    with (
        answering(*[reply(500, {"code": "server_error"})] * 3) as server,
        client(server, patience=Pauses().patience(attempts=3)) as sender,
        pytest.raises(Undecided, match="500 server_error") as caught,
    ):
        sender.send_bytes("t/1", BODY)
    assert (caught.value.attempts, len(server.requests)) == (3, 3)
    late = reply(503, {}, "Retry-After: 86400")
    with (
        answering(late) as server,
        client(server) as sender,
        pytest.raises(Undecided) as caught,
    ):
        sender.send_bytes("t/1", BODY)
    assert (caught.value.retry_after_s, caught.value.attempts) == (86_400, 1)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Refused), (401, SignatureRefused), (403, Refused), (404, Refused),
        (405, Refused), (409, TransactionConflict), (413, Refused), (415, Refused),
    ],
)  # fmt: skip
def test_a_refusal_is_told_at_once(status: int, kind: type[Refused]) -> None:
    said = {"code": "some_code", "detail": "Not so.\x1b[0m"}
    with answering(reply(status, said)) as server, client(server) as sender:
        with pytest.raises(kind) as caught:
            sender.send_bytes("t/1", BODY)
        assert str(caught.value) == f"{status} some_code: Not so. [0m"
        assert (caught.value.code, caught.value.attempts) == ("some_code", 1)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 X\r\n\r\n<html>Sign in</html>",
        reply(202, {"status": "accepted", "receipt": "r", "transaction_id": "other"}),
        reply(202, {"status": "duplicate", "receipt": "r", "transaction_id": "t/1"}),
        reply(200, {"status": "accepted", "receipt": "r", "transaction_id": "t/1"}),
        reply(202, ["accepted"]), reply(204), b"garbage\r\n\r\n", b"HTTP/9 x\r\n\r\n",
        b"HTTP/1.1 202 X\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 X\r\n\r\n" + b"[" * 70_000,
    ],
)  # fmt: skip
def test_what_is_not_the_platforms_word_is_undecided(said: bytes) -> None:
    def once(link: socket.socket) -> None:
        link.sendall(said)

    patience = Pauses().patience(attempts=1)
    with (
        answering(once) as server,
        client(server, patience=patience) as sender,
        pytest.raises(Undecided),
    ):
        sender.send_bytes("t/1", BODY)


def trickle(link: socket.socket, said: bytes) -> None:
    for letter in said:
        try:
            link.sendall(bytes([letter]))
        except OSError:
            return
        time.sleep(0.02)


def test_a_reply_that_trickles_ends_at_the_deadline() -> None:
    def slowly(link: socket.socket) -> None:
        trickle(link, b"HTTP/1.1 202 Accepted\r\n" * 100)

    began = time.monotonic()
    patience = Pauses().patience(attempts=1, timeout_s=0.3)
    with (
        answering(slowly) as server,
        client(server, patience=patience) as sender,
        pytest.raises(Undecided, match="did not end in time"),
    ):
        sender.send_bytes("t/1", BODY)
    assert time.monotonic() - began < 5


def test_a_handshake_that_trickles_ends_at_the_deadline() -> None:
    def serve(door: socket.socket) -> None:
        with door.accept()[0] as link:
            # A record that has 16 KiB of a server's hello before it.
            trickle(link, b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc" + b"\x03" * 1_500)

    began = time.monotonic()
    patience = Pauses().patience(attempts=1, timeout_s=0.3)
    with socket.create_server(("127.0.0.1", 0)) as door:
        threading.Thread(target=serve, args=[door], daemon=True).start()
        url = f"https://localhost:{door.getsockname()[1]}/"
        with (
            Client(url, SECRET, patience=patience) as sender,
            # Python's own limit on a handshake is as long.
            pytest.raises(Undecided, match=r"did not end in time|timed out"),
        ):
            sender.send_bytes("t/1", BODY)
    assert time.monotonic() - began < 5


def test_an_answer_that_comes_before_the_body_was_read_counts() -> None:
    def serve(door: socket.socket) -> None:
        with door.accept()[0] as link:
            link.recv(1024)
            link.sendall(reply(413, {"code": "body_too_large"}))

    with socket.create_server(("127.0.0.1", 0)) as door:
        threading.Thread(target=serve, args=[door], daemon=True).start()
        url = f"http://127.0.0.1:{door.getsockname()[1]}/"
        with (
            Client(url, SECRET, patience=Pauses().patience(attempts=1)) as sender,
            pytest.raises(Refused, match="413 body_too_large"),
        ):
            sender.send_bytes("t/1", bytes(10 << 20))


def test_tls_is_spoken_with_whoever_has_a_good_certificate(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    known = ssl.create_default_context(cafile=str(cert))
    with answering(accepted(), accepted(), tls=tls) as server:
        patience = Pauses().patience(attempts=1)
        with (
            client(server, patience=patience) as stranger,
            pytest.raises(Undecided, match="CERTIFICATE_VERIFY_FAILED"),
        ):
            stranger.send_bytes("t/1", BODY)
        with client(server, tls=known) as sender:
            for _ in range(2):
                assert sender.send_bytes("t/1", BODY).attempts == 1
    assert (server.connections, len(server.requests)) == (2, 2)


def test_nobody_there_is_undecided() -> None:
    with answering() as server:
        pass
    with (
        client(server, patience=Pauses().patience(attempts=2)) as sender,
        pytest.raises(Undecided, match="ConnectionRefusedError") as caught,
    ):
        sender.send_bytes("t/1", BODY)
    assert (caught.value.status, caught.value.attempts) == (None, 2)


def test_the_connection_is_kept_and_made_anew_when_it_was_closed_meanwhile() -> None:
    pauses = Pauses()
    # The third request meets a connection that ends without a word.
    script = [accepted(), accepted(), b"", accepted()]
    with (
        answering(*script) as server,
        client(server, patience=pauses.patience()) as sender,
    ):
        for _ in range(3):
            assert sender.send_bytes("t/1", BODY).attempts == 1
    assert (server.connections, len(server.requests)) == (2, 4)
    assert pauses.taken == []


def test_no_proxy_variable_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    with answering(accepted()) as server, client(server) as sender:
        assert sender.send_bytes("t/1", BODY).status == "accepted"


def test_no_text_holds_the_secret() -> None:
    with (
        answering(reply(401, {"code": "signature_invalid"})) as server,
        client(server, "standard") as sender,
    ):
        with pytest.raises(SignatureRefused) as caught:
            sender.send_bytes("t/1", BODY)
        shown = f"{sender!r} {caught.value!r} {caught.value}"
    assert SECRET not in shown
    assert SECRET.removeprefix("whsec_") not in shown
