"""Whose address a request comes from, and which networks hold it."""

from ipaddress import ip_address, ip_network

import pytest
from django.test import RequestFactory, override_settings
from hypothesis import given
from hypothesis import strategies as st

from tenants import addresses
from tenants.addresses import Networks, client_address, host_of, parse_address
from tenants.middleware import client_address as console_address

PROXIES = Networks(["10.0.0.0/8", "2001:db8:ff::/48"])


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("192.0.2.1:80", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[::ffff:192.0.2.1]:1", "::ffff:192.0.2.1"),
        ("", ""),
    ],
)
def test_a_port_is_no_part_of_an_address(peer: str, host: str) -> None:
    assert host_of(peer) == host


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ([], "10.0.0.1"),
        (["192.0.2.7"], "192.0.2.7"),
        (["::ffff:192.0.2.7"], "192.0.2.7"),
        (["2001:db8::7"], "2001:db8::7"),
        (["203.0.113.1, 192.0.2.7"], "192.0.2.7"),
        (["203.0.113.1", "192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7,10.2.3.4 , 2001:db8:ff::1"], "192.0.2.7"),
        (["192.0.2.7", "10.2.3.4"], "192.0.2.7"),
        (["rubbish, 192.0.2.7"], "192.0.2.7"),
        # Every hop is a proxy: the first of them asks.
        (["10.9.9.9, 10.2.3.4"], "10.9.9.9"),
        (["192.0.2.7, rubbish"], None),
        (["192.0.2.7, "], None),
        ([""], None),
        (["192.0.2.7:443"], None),
        (["192.0.2.7, 10.2.3.4/8"], None),
        ([addresses.UNREADABLE], None),
    ],
)
def test_a_trusted_proxy_says_who_asks(
    forwarded: list[str], address: str | None
) -> None:
    found = client_address("10.0.0.1", forwarded, PROXIES)
    assert found == (ip_address(address) if address else None)


@pytest.mark.parametrize("peer", ["192.0.2.1", "::ffff:192.0.2.1"])
def test_nobody_else_is_believed(peer: str) -> None:
    for forwarded in (["203.0.113.1"], ["10.0.0.1"], ["rubbish"], []):
        assert client_address(peer, forwarded, PROXIES) == ip_address("192.0.2.1")
        assert client_address(peer, forwarded, Networks([])) == ip_address("192.0.2.1")


def test_a_socket_without_an_address_is_nobody() -> None:
    assert client_address("", ["192.0.2.1"], Networks(["0.0.0.0/0", "::/0"])) is None


def test_networks_of_one_family_hold_none_of_the_other() -> None:
    assert parse_address("192.0.2.1") not in Networks(["::/0"])
    assert parse_address("2001:db8::1") not in Networks(["0.0.0.0/0"])
    assert parse_address("::ffff:192.0.2.1") in Networks(["192.0.2.0/24"])
    assert parse_address("192.0.2.1") in Networks(["::ffff:192.0.2.0/120"])
    assert None not in Networks(["0.0.0.0/0", "::/0"])
    assert parse_address("192.0.2.1") not in Networks([])


@given(
    address=st.ip_addresses(),
    cidrs=st.lists(
        st.tuples(st.ip_addresses(), st.integers(0, 128)).map(
            lambda pair: f"{pair[0]}/{min(pair[1], pair[0].max_prefixlen)}"
        ),
        max_size=4,
    ),
)
def test_networks_agree_with_the_standard_library(
    address: object, cidrs: list[str]
) -> None:
    networks = [ip_network(cidr, strict=False) for cidr in cidrs]
    ours = Networks([str(network) for network in networks])
    plain = parse_address(str(address))
    assert plain is not None
    expected = any(
        plain in network
        for network in (addresses.parse_network(str(net)) for net in networks)
    )
    assert (plain in ours) == expected


@pytest.mark.parametrize("text", ["fe80::%eth0/64", "192.0.2.1/24", "x", ""])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Networks([text])


@override_settings(TRUSTED_PROXIES=["127.0.0.1/32"])
def test_the_console_reads_the_same_header_by_the_same_rule() -> None:
    def asked(
        peer: str, forwarded: str | None = "203.0.113.1, 192.0.2.7"
    ) -> str | None:
        request = RequestFactory().get("/")
        request.META["REMOTE_ADDR"] = peer
        if forwarded is not None:
            request.META["HTTP_X_FORWARDED_FOR"] = forwarded
        return console_address(request)

    assert asked("127.0.0.1") == "192.0.2.7"
    assert asked("192.0.2.9") == "192.0.2.9"
    assert asked("127.0.0.1", None) == "127.0.0.1"
    assert asked("127.0.0.1", "x") == "127.0.0.1"
    assert asked("", None) is None
