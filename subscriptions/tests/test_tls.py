"""Whom the platform trusts, as whom it comes, and HTTP/2: against real TLS servers."""

import ssl
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from subscriptions.http import (
    BundleMissing,
    Driver,
    Outcome,
    Request,
    authorities,
    send_all,
    trust,
)
from subscriptions.tests.h2_receiver import receiving_h2
from subscriptions.tests.receivers import Received, Reply
from subscriptions.tests.tls_receivers import Authority, serving_tls


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Authority]:
    """Trust this authority's certificates and no others."""
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.bundle))
    authorities.cache_clear()
    yield made
    authorities.cache_clear()


def send(url: str, certificate: tuple[bytes, bytes] | None = None) -> Outcome:
    (outcome,) = send_all([Request(url, body=b"{}", certificate=certificate)])
    return outcome


def test_trusted_certificate_is_accepted(authority: Authority) -> None:
    with serving_tls(authority.context()) as (_, url):
        assert send(url).is_success


@pytest.mark.parametrize("fault", ["wrong name", "ended", "another authority"])
def test_certificate_that_does_not_hold_is_a_tls_error(
    authority: Authority, tmp_path: Path, fault: str
) -> None:
    (tmp_path / "other").mkdir()
    signer = (
        Authority(tmp_path / "other") if fault == "another authority" else authority
    )
    name = "other.example" if fault == "wrong name" else "localhost"
    context = signer.context(name, is_ended=fault == "ended")
    with serving_tls(context) as (receiver, url):
        outcome = send(url)
    assert outcome.error == "tls_error"
    assert "certificate" in outcome.detail
    assert receiver.requests == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_living_versions_of_tls_are_spoken(
    authority: Authority, version: ssl.TLSVersion
) -> None:
    context = authority.context()
    context.minimum_version = context.maximum_version = version
    with serving_tls(context) as (_, url):
        assert send(url).is_success


def test_missing_authorities_are_a_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
    monkeypatch.setattr(trust, "_BUNDLES", ())
    authorities.cache_clear()
    try:
        with pytest.raises(BundleMissing, match="ca-certificates"):
            authorities()
        assert send("https://127.0.0.1:1/").error == "tls_error"
    finally:
        authorities.cache_clear()


@pytest.fixture
def demanding(authority: Authority) -> ssl.SSLContext:
    """A server that talks to clients with a certificate of the authority alone."""
    context = authority.context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.bundle)
    return context


def test_client_certificate_opens_a_receiver_that_demands_one(
    authority: Authority, demanding: ssl.SSLContext, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other").client("stranger")
    # A server of TLS 1.3 may close before its alert is read: then it is a reset.
    demanding.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving_tls(demanding) as (receiver, url):
        assert send(url, authority.client("gridhook")).is_success
        assert [one.client for one in receiver.requests] == ["gridhook"]
        for certificate in (None, stranger):
            outcome = send(url, certificate)
            assert (outcome.status_code, outcome.error) == (None, "tls_error")
        assert len(receiver.requests) == 1


def test_each_request_comes_under_its_own_certificate(
    authority: Authority, demanding: ssl.SSLContext
) -> None:
    """Neither connections nor TLS sessions of one client serve another."""
    clients = {name: authority.client(name) for name in ("first", "second")}
    names = ["first", "second"] * 6

    def behave(received: Received) -> Reply:
        return Reply(200, received.client.encode())

    with serving_tls(demanding, behave) as (receiver, url):
        for _ in range(2):
            requests = [Request(url, certificate=clients[name]) for name in names]
            found = send_all(requests)
            assert [one.body.decode() for one in found] == names
        demanding.verify_mode = ssl.CERT_OPTIONAL
        assert send(url).body == b""
    assert receiver.connections < 2 * len(names) + 2


def test_unreadable_client_certificate_is_a_tls_error(authority: Authority) -> None:
    with serving_tls(authority.context()) as (receiver, url):
        assert send(url, (b"none", b"none")).error == "tls_error"
    assert receiver.requests == []


def all_of(driver: Driver[int]) -> list[Outcome]:
    ended: list[Outcome] = []
    while len(driver):
        ended += [outcome for _, outcome in driver.step(1)]
    return ended


def test_many_requests_share_one_http2_connection(authority: Authority) -> None:
    with receiving_h2(authority.context()) as receiver, Driver[int]() as driver:
        url = f"https://localhost:{receiver.port}/hook"
        headers = ["webhook-id: msg_1"]
        driver.add(Request(url, headers=headers, body=b"0"), 0)
        outcomes = all_of(driver)
        receiver.together = 19
        for number in range(1, 20):
            driver.add(Request(url, headers=headers, body=b"%d" % number), number)
        outcomes += all_of(driver)
    assert {outcome.http_version for outcome in outcomes} == {"2"}
    assert all(outcome.is_success for outcome in outcomes)
    assert outcomes[0].body == b"taken"
    assert outcomes[0].headers["x-h2"] == "yes"
    assert sorted(receiver.bodies, key=int) == [b"%d" % number for number in range(20)]
    assert receiver.heads[0]["webhook-id"] == "msg_1"
    assert receiver.heads[0][":authority"] == f"localhost:{receiver.port}"
    assert receiver.connections == 1


def test_server_without_http2_is_asked_over_many_connections_at_once(
    authority: Authority,
) -> None:
    barrier = threading.Barrier(8, timeout=10)

    def behave(_: Received) -> Reply:
        barrier.wait()
        return Reply()

    with serving_tls(authority.context(), behave) as (_, url):
        outcomes = send_all([Request(url, body=b"{}")] * 8)
    assert {outcome.http_version for outcome in outcomes} == {"1.1"}
    assert all(outcome.is_success for outcome in outcomes)
