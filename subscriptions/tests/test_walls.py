"""
The wall as a whole: which sockets are opened for what a URL and its name lead to.

Every connection of libcurl's goes to a socket that it was given, so that no socket is
no connection.
"""

import socket
from collections.abc import Callable, Generator
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from subscriptions.http import Driver, Outcome, Request, send_all, transfers
from subscriptions.http import driver as driving
from subscriptions.http.addresses import UrlInvalid, check_url
from subscriptions.http.resolving import Resolver, Tell
from subscriptions.http.transfers import Transfer
from subscriptions.tests.receivers import Reply, receiving
from subscriptions.tests.test_addresses import ALLOWED, FORBIDDEN

#: Hosts that other parsers take for an address: none may lead anywhere.
DISGUISES = [
    *("2130706433", "0x7f000001", "0x7f.1", "0x7f.0.0.1", "017700000001"),
    *("0177.0.0.1", "0177.0.0.01", "127.1", "127.0.1", "0", "0.0", "00000000"),
    *("127.0.0.1.", "127.000.000.001", "0x7F.0x0.0x0.0x1", "4294967295"),
    *("169.254.43518", "0xa9fea9fe", "2852039166", "0251.0376.0251.0376"),
    *("[::127.0.0.1]", "[0:0:0:0:0:0:0:1]", "[::ffff:7f00:1]", "[::1%25lo]"),
    *("[::1%lo]", "[::ffff:169.254.169.254]", "[64:ff9b::7f00:1]", "[::0]"),
    *("[2002:7f00:1::]", "[2001:0:7f00:1::]", "[fe80::1]", "[fec0::1]"),
    *("localhost", "LOCALHOST", "localhost.", "a.localhost", "127.0.0.1:80"),
    *("user@127.0.0.1", "8.8.8.8@127.0.0.1", "127.0.0.1#@8.8.8.8", "1.1.1.1:0"),
    *("%31%32%37.0.0.1", "①②⑦.0.0.1", "127。0。0。1", "127.0.0.1\\@8.8.8.8"),
    *("[127.0.0.1]", "127.0.0.1 ", "\t127.0.0.1", "127.0.0.1\r\n", "[::1", "::1"),
]


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """Every socket that is opened for libcurl."""
    made: list[socket.socket] = []
    ask = Transfer._open_socket

    def recorded(transfer: Transfer, purpose: int, target: Any) -> Any:
        found = ask(transfer, purpose, target)
        made.extend([found] if isinstance(found, socket.socket) else [])
        return found

    monkeypatch.setattr(Transfer, "_open_socket", recorded)
    return made


@pytest.fixture
def walled() -> Generator[None]:
    """No exceptions of an operator's."""
    with override_settings(CALLBACK_ALLOW_CIDRS=[]):
        yield


class Scripted(Resolver):
    """Answers on the thread that asks, and remembers nothing."""

    def ask(self, name: str, tell: Tell) -> None:
        tell(self._answer(name))


def answering(*answers: list[str]) -> Callable[[str], list[str]]:
    """Answer the n-th look-up with the n-th list, and then with the last."""
    queue = list(answers)
    return lambda _: queue.pop(0) if len(queue) > 1 else queue[0]


def send(url: str, *answers: list[str]) -> Outcome:
    request = Request(url, body=b"{}")
    (outcome,) = send_all([request], Scripted(answering(*answers or ([],))))
    return outcome


def saved(url: str, answer: list[str]) -> None:
    exceptions = settings.CALLBACK_ALLOW_CIDRS
    check_url(url, exceptions=exceptions, resolve=answering(answer))


@pytest.mark.parametrize("address", FORBIDDEN)
def test_forbidden_address_is_dialled_neither_as_such_nor_as_a_names(
    address: str, walled: None, opened: list[socket.socket]
) -> None:
    host = f"[{address}]" if ":" in address else address
    for url, answer in (
        (f"https://{host}/", []),
        ("https://meter.example/", [address]),
        ("https://meter.example/", ["93.184.216.34", address]),
        ("https://meter.example/", [address, "2606:4700::1111"]),
    ):
        outcome = send(url, answer)
        assert (outcome.error, outcome.status_code) == ("address_not_allowed", None)
        with pytest.raises(UrlInvalid, match="may not point"):
            check_url(url, resolve=answering(answer))
    assert opened == []


@pytest.mark.parametrize("host", DISGUISES)
def test_disguised_address_leads_nowhere(
    host: str, walled: None, opened: list[socket.socket]
) -> None:
    for url in (f"https://{host}/", f"http://{host}/"):
        assert send(url, ["127.0.0.1"]).error in {"url_invalid", "address_not_allowed"}
        with pytest.raises(UrlInvalid):
            check_url(url, resolve=answering(["127.0.0.1"]))
    assert opened == []


@pytest.mark.parametrize("address", ["100.63.255.254", *ALLOWED])
def test_address_of_the_internet_is_a_names_to_have(address: str, walled: None) -> None:
    check_url("https://meter.example/", resolve=answering([address]))
    check_url("https://meter.example:8443/", resolve=answering([address]))
    with pytest.raises(UrlInvalid, match="443, 8443"):
        check_url("https://meter.example:6379/", resolve=answering([address]))
    with pytest.raises(UrlInvalid, match="https://"):
        check_url("http://meter.example/", resolve=answering([address]))


def test_name_without_an_answer_is_taken_when_saved_and_not_dialled(
    walled: None, opened: list[socket.socket]
) -> None:
    check_url("https://meter.example/", resolve=answering([]))
    assert send("https://meter.example/").error == "dns_error"
    assert opened == []


def test_operators_network_opens_http_and_any_port_for_its_names_alone() -> None:
    with receiving() as receiver:
        port = receiver.server_port
        url = f"http://meter.example:{port}/hook"
        saved(url, ["127.0.0.1"])
        assert send(url, ["127.0.0.1"]).is_success
        for answer in (["127.0.0.1", "93.184.216.34"], ["93.184.216.34"]):
            assert send(url, answer).error == "url_invalid"
            with pytest.raises(UrlInvalid):
                saved(url, answer)
        assert send(url, ["127.0.0.1", "10.0.0.1"]).error == "address_not_allowed"
    (received,) = receiver.requests
    assert received.headers["host"] == f"meter.example:{port}"


def test_listed_ports_are_the_operators_to_choose(walled: None) -> None:
    with override_settings(CALLBACK_PORTS=[9443]):
        check_url("https://1.1.1.1:9443/")
        with pytest.raises(UrlInvalid, match="these: 9443"):
            check_url("https://1.1.1.1/")


def test_checked_address_is_the_dialled_one() -> None:
    """The name exists nowhere: only what was judged can have led there."""
    with receiving() as receiver:
        for host in ("no-such.invalid", "NO-SUCH.invalid", "no-such.invalid."):
            url = f"http://{host}:{receiver.server_port}/"
            outcome = send(url, ["127.0.0.1"])
            assert (outcome.status_code, outcome.address) == (204, "127.0.0.1"), url


def test_name_that_turns_inward_after_it_was_saved_is_not_dialled(
    walled: None, opened: list[socket.socket]
) -> None:
    ask = answering(["93.184.216.34"], ["127.0.0.1"])
    with receiving() as receiver:
        url = "https://meter.example:8443/"
        check_url(url, resolve=ask)
        (outcome,) = send_all([Request(url, body=b"{}")], Scripted(ask))
    assert outcome.error == "address_not_allowed"
    # Where names lead inside is nobody's to learn.
    assert "127.0.0.1" not in outcome.detail
    assert "meter.example" in outcome.detail
    assert (opened, receiver.connections) == ([], 0)


def test_no_address_of_before_is_dialled_again() -> None:
    """One driver, one name: each request goes where the name is now."""
    resolver = Scripted(answering(["127.0.0.1"], ["127.0.0.2"], ["10.0.0.1"]))
    closing = Reply(headers={"Connection": "close"})
    with receiving(lambda _: closing) as receiver, Driver[int](resolver) as driver:
        found = []
        for number in range(3):
            url = f"http://meter.example:{receiver.server_port}/"
            driver.add(Request(url, body=b"{}"), number)
            while len(driver):
                found += [outcome for _, outcome in driver.step(1)]
    assert [one.address for one in found] == ["127.0.0.1", "127.0.0.2", ""]
    assert [one.error for one in found] == [
        "",
        "connection_refused",
        "address_not_allowed",
    ]


def test_handle_whose_pins_were_forgotten_is_given_them_anew(
    opened: list[socket.socket],
) -> None:
    """Another driver's cache knows as little of the name as one that has expired."""
    resolver = Scripted(answering(["127.0.0.1"]))
    with (
        receiving() as receiver,
        Driver[int](resolver) as before,
        Driver[int](resolver) as after,
    ):
        found: list[Outcome] = []
        for driver in (before, after):
            url = f"http://no-such.invalid:{receiver.server_port}/"
            driver.add(Request(url, body=b"{}"), 0)
            while len(driver):
                found += [outcome for _, outcome in driver.step(1)]
            after._spare, before._spare = before._spare, after._spare
    assert [(one.error, one.address) for one in found] == [("", "127.0.0.1")] * 2
    assert receiver.connections == 2


def test_last_wall_stands_when_the_first_is_taken_down(
    walled: None, opened: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driving, "judge", lambda *_: None)
    with receiving() as receiver:
        url = f"http://meter.example:{receiver.server_port}/"
        outcome = send(url, ["127.0.0.1"])
    assert outcome.error == "address_not_allowed"
    assert (opened, receiver.connections) == ([], 0)


def test_address_that_nobody_judged_is_not_dialled_though_it_is_allowed(
    opened: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if libcurl had looked the name up by itself."""
    pins = transfers._pins
    monkeypatch.setattr(transfers, "_pins", lambda target, _: pins(target, ("::1",)))
    with override_settings(CALLBACK_ALLOW_CIDRS=["127.0.0.0/8", "::1/128"]):
        outcome = send("http://meter.example:9/", ["127.0.0.1"])
    assert outcome.error == "address_not_allowed"
    assert opened == []


def test_without_both_walls_the_receiver_would_be_reached(
    walled: None, opened: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: what the other tests count does happen when nothing prevents it."""
    monkeypatch.setattr(driving, "judge", lambda *_: None)
    monkeypatch.setattr(transfers, "is_allowed", lambda *_: True)
    with receiving() as receiver:
        url = f"http://meter.example:{receiver.server_port}/"
        assert send(url, ["127.0.0.1"]).is_success
    assert (len(opened), receiver.connections) == (1, 1)


def test_redirect_to_metadata_opens_no_second_socket(
    opened: list[socket.socket],
) -> None:
    reply = Reply(307, headers={"Location": "http://169.254.169.254/latest/"})
    with receiving(lambda _: reply) as receiver:
        before = len(opened)
        assert send(receiver.url).status_code == 307
    assert len(opened) == before + 1
