"""
Whose address a request comes from, and whether a list of networks holds it.

The address is the socket's. Only a trusted proxy is believed about another one: what
its `X-Forwarded-For` says last, further proxies of the same kind left out. Whatever a
client writes into that header itself stands left of it and is never looked at.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
#: What `X-Forwarded-For` says where its bytes cannot be shown as text.
UNREADABLE = "?"
#: IPv6 prefix of the IPv4 addresses written as IPv6 ones (::ffff:0:0/96).
_MAPPED_BITS = 96
#: Addresses kept parsed.
_KEPT = 8192


@lru_cache(maxsize=_KEPT)
def parse_address(text: str) -> Address | None:
    """Return the address; an IPv4 one written as IPv6 is IPv4; None: it is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address
    return address


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """
    Return the network; an IPv4 one written as IPv6 is IPv4.

    Raises: ValueError: it is none, or names an interface.
    """
    network = ip_network(text)
    if isinstance(network, IPv4Network):
        return network
    if "%" in text:
        raise ValueError(f"{text!r} names an interface")
    mapped = network.network_address.ipv4_mapped
    if mapped is None or network.prefixlen < _MAPPED_BITS:
        return network
    return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))


def host_of(peer: str) -> str:
    """Return the address of a socket, `192.0.2.1:80` or `[2001:db8::1]:80`, alone."""
    host, colon, _ = peer.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        return peer
    return host.removeprefix("[").removesuffix("]")


class Networks:
    """Networks, ready for being asked often."""

    __slots__ = ("_v4", "_v6")

    def __init__(self, cidrs: Iterable[str]) -> None:
        """
        Read the networks.

        Raises: ValueError: one is none.
        """
        self._v4: list[tuple[int, int]] = []
        self._v6: list[tuple[int, int]] = []
        for cidr in cidrs:
            network = parse_network(cidr)
            pairs = self._v4 if isinstance(network, IPv4Network) else self._v6
            pairs.append((int(network.netmask), int(network.network_address)))

    def __bool__(self) -> bool:
        return bool(self._v4 or self._v6)

    def __contains__(self, address: Address | None) -> bool:
        if address is None:
            return False
        number = int(address)
        pairs = self._v4 if isinstance(address, IPv4Address) else self._v6
        for mask, network in pairs:  # noqa: SIM110 (a third of the time)
            if number & mask == network:
                return True
        return False


def client_address(
    peer: str, forwarded: Sequence[str], proxies: Networks
) -> Address | None:
    """
    Return the address that a request comes from.

    `forwarded` has the `X-Forwarded-For` lines in their order, `peer` is the socket's
    address without a port. None: it is not known, for a trusted proxy says what is no
    address; such a request is in no network.
    """
    socket = parse_address(peer)
    if socket not in proxies:
        return socket
    for hop in reversed(",".join(forwarded).split(",")) if forwarded else ():
        address = parse_address(hop.strip())
        if address is None:
            return None
        if address not in proxies:
            return address
        socket = address
    return socket
