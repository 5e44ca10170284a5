"""The way out, against real servers."""

import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from subscriptions.http import (
    BundleMissing,
    Driver,
    Outcome,
    Request,
    authorities,
    send_all,
    trust,
)
from subscriptions.http.transfers import Kind
from subscriptions.services.tokens import Answer
from subscriptions.tests.receivers import Received, Reply, receiving

_HUSH = (b"hush", b"hush")


def send(url: str, **options: Any) -> Outcome:
    (outcome,) = send_all([Request(url=url, body=b"{}", **options)])
    return outcome


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_body_and_headers_arrive_as_given() -> None:
    body = b'{"b": {}, "e": "\xc3\xa9", "a": 1}\n'
    with receiving() as receiver:
        headers = ["Content-Type: application/json", "webhook-id: msg_1"]
        (outcome,) = send_all([Request(receiver.url, headers=headers, body=body)])
    (received,) = receiver.requests
    assert outcome.is_success
    assert (received.method, received.path, received.body) == ("POST", "/hook", body)
    assert received.headers["content-type"] == "application/json"
    assert received.headers["webhook-id"] == "msg_1"
    assert received.headers["user-agent"] == "Gridhook/0.1.0"
    assert "expect" not in received.headers
    assert "accept-encoding" not in received.headers


def test_empty_body_is_posted_as_empty() -> None:
    with receiving() as receiver:
        send_all([Request(receiver.url, body=b"")])
    assert receiver.requests[0].headers["content-length"] == "0"


def test_outcome_tells_what_was_answered() -> None:
    reply = Reply(503, b"come back", {"Retry-After": "7"})
    with receiving(lambda _: reply) as receiver:
        outcome = send(receiver.url)
    assert not outcome.is_success
    assert (outcome.status_code, outcome.error) == (503, "")
    assert (outcome.body, outcome.address) == (b"come back", "127.0.0.1")
    assert outcome.headers["retry-after"] == "7"
    assert outcome.http_version == "1.1"
    assert outcome.head.startswith("HTTP/1.1 503 Service Unavailable\nServer: ")
    assert "Retry-After: 7\n" in outcome.head


def test_many_requests_travel_at_once_over_few_connections() -> None:
    barrier = threading.Barrier(20, timeout=10)

    def behave(_: Received) -> Reply:
        barrier.wait()
        return Reply()

    with receiving(behave) as receiver, Driver[int]() as driver:
        ended: list[Outcome] = []
        for wave in range(3):
            for number in range(20):
                driver.add(Request(receiver.url, body=b"{}"), wave * 20 + number)
            while len(driver):
                ended.extend(outcome for _, outcome in driver.step(1))
    assert len(ended) == 60
    assert all(outcome.is_success for outcome in ended)
    assert receiver.connections <= 20


@override_settings(DELIVERY_TIMEOUT_S=0.3)
def test_handle_that_is_used_again_keeps_nothing_of_the_request_before() -> None:
    behaving = threading.Event()

    def behave(received: Received) -> Reply:
        if received.path == "/slow":
            behaving.wait(5)
        return Reply(200, received.body, {"X-Path": received.path})

    requests = [
        ("POST", "/one", ("X-Key: 1",), b"first"),
        ("OPTIONS", "/two", (), None),
        ("POST", "/slow", (), b"lost"),
        ("GET", "/three", (), None),
        ("POST", "/four", (), b""),
    ]
    outcomes = []
    with receiving(behave) as receiver, Driver[int]() as driver:
        base = receiver.url.removesuffix("/hook")
        for method, path, headers, body in requests:
            driver.add(Request(base + path, method, headers, body), 0)
            while len(driver):
                outcomes += [outcome for _, outcome in driver.step(1)]
        behaving.set()
    seen = [(one.method, one.path, one.body) for one in receiver.requests]
    assert seen == [(one[0], one[1], one[3] or b"") for one in requests]
    assert [one.error for one in outcomes] == ["", "", "timeout", "", ""]
    assert outcomes[2].headers == {}
    assert [one.headers.get("x-path") for one in outcomes][3:] == ["/three", "/four"]
    assert [one.headers.get("x-key") for one in receiver.requests] == ["1"] + [None] * 4
    assert "content-length" not in receiver.requests[3].headers
    assert "content-type" not in receiver.requests[1].headers


def test_redirect_is_not_followed() -> None:
    with (
        receiving() as second,
        receiving(lambda _: Reply(308, headers={"Location": second.url})) as first,
    ):
        outcome = send(first.url)
    assert outcome.status_code == 308
    assert not outcome.is_success
    assert second.connections == 0


def test_proxy_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as proxy, receiving() as receiver:
        for name in ("http_proxy", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server_port}")
        assert send(receiver.url).is_success
    assert proxy.connections == 0


@contextmanager
def raw_server(*chunks: bytes, pause_s: float = 0, linger: bool = False) -> Any:
    """Answer every connection with these bytes, slowly or never to an end."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()
    sent = {"bytes": 0}

    def serve() -> None:
        with listener:
            peer, _ = listener.accept()
            with peer:
                peer.recv(65536)
                try:
                    for chunk in chunks:
                        peer.sendall(chunk)
                        sent["bytes"] += len(chunk)
                        ended.wait(pause_s)
                    if linger:
                        ended.wait(10)
                except OSError:
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/", sent
    finally:
        ended.set()
        thread.join(5)


def test_endless_body_is_cut_at_the_limit_and_the_status_counts() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"
    with raw_server(head, *[b"x" * 65536] * 500) as (url, sent):
        outcome = send(url)
    assert outcome.is_success
    assert outcome.body == b"x" * 65536
    assert sent["bytes"] < 16 * 1024 * 1024


@override_settings(DELIVERY_TIMEOUT_S=0.4)
def test_slow_drip_ends_at_the_deadline() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    started = time.monotonic()
    with raw_server(head, *[b"x"] * 1000, pause_s=0.05) as (url, _):
        outcome = send(url)
    assert outcome.error == "timeout"
    assert not outcome.is_success
    assert 0.4 <= time.monotonic() - started < 3


@override_settings(DELIVERY_TIMEOUT_S=0.3)
def test_silence_is_a_timeout() -> None:
    with raw_server(linger=True) as (url, _):
        outcome = send(url)
    assert (outcome.status_code, outcome.error) == (None, "timeout")
    assert "0.3 s" in outcome.detail


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", "connection_reset"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "response_invalid"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "response_invalid"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", "response_invalid"),
    ],
)
def test_answer_that_is_no_whole_response_is_a_failure(
    answer: bytes, error: str
) -> None:
    with raw_server(answer) as (url, _):
        outcome = send(url)
    assert outcome.error == error
    assert not outcome.is_success
    assert outcome.detail


def test_nobody_listening_is_connection_refused() -> None:
    outcome = send(f"http://127.0.0.1:{unused_port()}/")
    assert (outcome.status_code, outcome.error) == (None, "connection_refused")


def test_unknown_name_is_a_dns_error() -> None:
    assert send("http://no-such-host.invalid/").error == "dns_error"


@override_settings(CALLBACK_ALLOW_CIDRS=[])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
def test_forbidden_address_is_never_dialled(host: str) -> None:
    with receiving() as receiver:
        outcome = send(f"http://{host}:{receiver.server_port}/")
    assert outcome.error == "address_not_allowed"
    assert "GRIDHOOK_CALLBACK_ALLOW_CIDRS" in outcome.detail
    assert receiver.connections == 0


def test_name_is_judged_by_the_address_it_resolves_to() -> None:
    with receiving() as receiver:
        url = f"http://localhost:{receiver.server_port}/"
        assert send(url).is_success
        with override_settings(CALLBACK_ALLOW_CIDRS=[]):
            assert send(url).error == "address_not_allowed"
    assert receiver.connections == 1


def test_other_protocols_are_not_spoken(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    outcome = send(f"file://{secret}")
    assert outcome.error == "url_invalid"
    assert outcome.body == b""


def test_missing_authorities_are_a_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
    monkeypatch.setattr(trust, "_BUNDLES", ())
    authorities.cache_clear()
    try:
        with pytest.raises(BundleMissing, match="ca-certificates"):
            authorities()
    finally:
        authorities.cache_clear()


def test_requests_left_behind_are_given_up_with_the_driver() -> None:
    with raw_server(linger=True) as (url, _):
        with Driver[str]() as driver:
            driver.add(Request(url, body=b"{}"), "left")
            assert driver.step(0.1) == []
        assert len(driver) == 0


def test_nobody_who_prints_them_sees_what_a_request_and_its_answer_hold() -> None:
    request = Request("https://a.example/", "POST", ["X-Key: hush"], b"hush", _HUSH)
    outcome = Outcome(
        200, "", "", {"x": "hush"}, b"hush", "192.0.2.1", 0, 0, "2", "x: hush"
    )
    for one in (request, outcome, Kind(_HUSH, is_pinned=True), Answer("hush", 9)):
        assert "hush" not in repr(one)
