"""
Which addresses the platform may dial, and which URLs it takes.

One pattern reads the URL, when it is saved and before each request; whatever its host
resolves to is judged address by address, and one that is forbidden refuses them all.
The list is explicit: `is_global` of `ipaddress` lets multicast, NAT64 and 6to4 forms of
private addresses through. Source: docs/explanation/ssrf.md
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import ClassVar

from django.conf import settings

from subscriptions.http.resolving import look_up
from tenants.problems import Problem

Address = IPv4Address | IPv6Address

#: No operator's exception opens these: cloud metadata, "this host", groups, tunnels to
#: whatever address is inside.
_NEVER = (
    "100.100.100.200/32",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "192.0.0.192/32",
    "2001::/32",
    "2002::/16",
    "fd00:42::42/128",
    "fd00:a9fe:a9fe::/48",
    "fd00:ec2::/64",
    "fd20:ce::254/128",
    "fe80::/10",
    "0.0.0.0/8",
    "::/128",
    "224.0.0.0/4",
    "255.255.255.255/32",
    "ff00::/8",
)
_DENIED_V4 = (
    "0.0.0.0/8",  # this host
    "10.0.0.0/8",  # private
    "100.64.0.0/10",  # carrier-grade NAT; a cloud's metadata
    "127.0.0.0/8",  # loopback
    "168.63.129.16/32",  # a cloud's host agent
    "169.254.0.0/16",  # link-local; metadata
    "172.16.0.0/12",  # private
    "192.0.0.0/24",  # protocol assignments; a cloud's metadata
    "192.0.2.0/24",  # documentation
    "192.31.196.0/24",  # AS112
    "192.52.193.0/24",  # AMT
    "192.88.99.0/24",  # 6to4 relays
    "192.168.0.0/16",  # private
    "192.175.48.0/24",  # AS112
    "198.18.0.0/15",  # benchmarks
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, broadcast
)
#: All but 2000::/3, and in it what is not one host's own address.
_DENIED_V6 = (
    "::/3",  # loopback, mapped and compatible, NAT64, discard
    "2001::/23",  # Teredo, ORCHID, benchmarks, AMT
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4
    "2620:4f:8000::/48",  # AS112
    "3ffe::/16",  # 6bone
    "3fff::/20",  # documentation
    "4000::/2",  # unassigned; segment routing
    "8000::/1",  # unassigned, unique local, link-local, site-local, multicast
)
_NAT64 = IPv6Network("64:ff9b::/96")
#: The interface part of ISATAP, either way of its universal bit.
_ISATAP = {0x00005EFE, 0x02005EFE}
_METADATA = int(IPv4Address("169.254.169.254"))

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
#: The whole URL by one pattern, so that no second parser can read another host.
_URL = re.compile(
    rf"""(?P<scheme>https?)://
    (?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<host>{_LABEL}(?:\.{_LABEL})*\.?))
    (?::(?P<port>[0-9]{{1,5}}))?
    (?:/[!$%&'()*+,\-./0-9:;=@A-Z_a-z~?]*|\?[!$%&'()*+,\-./0-9:;=@A-Z_a-z~?]*)?""",
    re.VERBOSE,
)
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
_HOST_CHARACTERS = 253
#: Of a URL that is saved; a handshake adds its question to it.
URL_CHARACTERS = 2048
_SENT_CHARACTERS = 4096
_HIGHEST_PORT = 65535
_SCHEME_PORTS = {"http": 80, "https": 443}


class UrlInvalid(Problem):
    """The callback URL cannot be used."""

    code = "url_invalid"
    title = "The callback URL cannot be used"
    status: ClassVar[int] = 400


class AddressNotAllowed(UrlInvalid):
    """The host is at an address that may not be dialled."""


@dataclass(frozen=True)
class Target:
    """Where a URL leads."""

    scheme: str
    #: In lower case, an IPv6 address without its brackets.
    host: str
    port: int
    #: The address that the host is, or always stands for; empty: another name.
    address: str


@lru_cache(maxsize=32)
def _networks(cidrs: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(cidr) for cidr in cidrs)


def is_allowed(address: Address, exceptions: Sequence[str] = ()) -> bool:
    """
    Tell whether the platform may dial the address.

    `exceptions`: CIDRs that the operator opened; those in `_NEVER` stay closed.
    """
    judged = _unwrapped(address)
    if _is_tunnel(judged) or _is_in(judged, _NEVER):
        return False
    if _is_in(judged, tuple(exceptions)):
        return True
    denied = _DENIED_V4 if isinstance(judged, IPv4Address) else _DENIED_V6
    return not _is_in(judged, denied)


def _is_tunnel(address: Address) -> bool:
    """
    Tell whether the address leads to an IPv4 one inside, as far as can be told.

    A NAT64 of the operator's own may have any prefix: of those the metadata alone.
    """
    if isinstance(address, IPv4Address):
        return False
    rest, inside = divmod(int(address), 1 << 32)
    return inside == _METADATA or rest & 0xFFFFFFFF in _ISATAP


def _unwrapped(address: Address) -> Address:
    """Return the IPv4 address that a mapped or NAT64 address reaches."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_in(address: Address, cidrs: tuple[str, ...]) -> bool:
    return any(address in network for network in _networks(cidrs))


def check_url(
    url: str,
    *,
    exceptions: Sequence[str] = (),
    resolve: Callable[[str], Sequence[str]] = look_up,
) -> None:
    """
    Refuse a callback URL that is not canonical, not safe, or not encrypted.

    A name that is not found now is taken: it is judged again before each request.
    Raises: UrlInvalid.
    """
    if len(url) > URL_CHARACTERS:
        raise UrlInvalid(f"A callback URL has at most {URL_CHARACTERS} characters.")
    target = parse(url)
    found = [target.address] if target.address else resolve(target.host)
    judge(target, tuple(found), exceptions)


def foresee(url: object) -> None:
    """
    Have the URL's host looked up, whatever the URL is worth.

    Judging it within the next seconds then waits for nobody: rows may be locked.
    """
    if not isinstance(url, str):
        return
    with suppress(UrlInvalid):
        target = parse(url)
        if not target.address:
            look_up(target.host)


def judge(
    target: Target, addresses: tuple[str, ...], exceptions: Sequence[str]
) -> None:
    """
    Refuse a target one of whose addresses may not be dialled, or not in this way.

    Plain http and other ports are for addresses in the operator's exceptions alone.
    Raises: AddressNotAllowed, UrlInvalid.
    """
    ports = tuple(settings.CALLBACK_PORTS)
    refusal = _refusal(target, addresses, tuple(exceptions), ports)
    if refusal is not None:
        kind, words = refusal
        raise kind(words)


@lru_cache(maxsize=4096)
def _refusal(
    target: Target,
    addresses: tuple[str, ...],
    exceptions: tuple[str, ...],
    ports: tuple[int, ...],
) -> tuple[type[UrlInvalid], str] | None:
    parsed = [ip_address(address) for address in addresses]
    if not all(is_allowed(one, exceptions) for one in parsed):
        return AddressNotAllowed, not_allowed(target)
    if parsed and all(_is_in(_unwrapped(one), exceptions) for one in parsed):
        return None
    if target.scheme != "https":
        return UrlInvalid, "A callback URL begins with https://."
    if target.port not in ports:
        listed = ", ".join(map(str, ports))
        return UrlInvalid, f"The port of a callback URL is one of these: {listed}."
    return None


def not_allowed(target: Target) -> str:
    """Say that the target may not be dialled, and not where an inner name leads."""
    where = target.address or f"where {target.host} is"
    return (
        f"Callback URLs may not point to {where}. The operator can open private "
        "networks (GRIDHOOK_CALLBACK_ALLOW_CIDRS)."
    )


@lru_cache(maxsize=4096)
def parse(url: str) -> Target:
    """
    Return where the URL leads, by the one reading that there is of it.

    Raises: UrlInvalid: it is not canonical.
    """
    if len(url) > _SENT_CHARACTERS:
        raise UrlInvalid("The URL is too long.")
    if not url.isascii():
        raise UrlInvalid(
            "Write the host in its ASCII form (xn--…) and the path percent-encoded."
        )
    authority_end = re.search(r"(?<![:/])[/?#]", url)
    split = authority_end.start() if authority_end else len(url)
    found = _URL.fullmatch(url[:split].lower() + url[split:])
    if found is None:
        raise UrlInvalid(_reason(url, url[:split]))
    host = found["v6"] or found["host"]
    if len(host) > _HOST_CHARACTERS:
        raise UrlInvalid("The host name is too long.")
    scheme = found["scheme"]
    port = int(found["port"] or _SCHEME_PORTS[scheme])
    if not 0 < port <= _HIGHEST_PORT:
        raise UrlInvalid(f"The port is a number from 1 to {_HIGHEST_PORT}.")
    return Target(scheme, host, port, _literal(host))


def _reason(url: str, authority: str) -> str:
    """Say what is wrong with a URL that the pattern does not match."""
    if "@" in authority:
        return "A callback URL carries no user name and no password."
    if "#" in url:
        return "A callback URL has no fragment (#)."
    if not re.match(r"https?://", authority, re.IGNORECASE):
        return "A callback URL begins with https://."
    return "This is not a URL as RFC 3986 writes them: https://host/path."


def _literal(host: str) -> str:
    """
    Return the address that the host is, or always stands for; empty: another name.

    A host that ends in a number is an address to most resolvers (`0x7f.1`, `127.1`,
    `2130706433`), so it must be one in its canonical form.
    """
    name = host.rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return "127.0.0.1"
    is_number = ":" in host or _NUMERIC.fullmatch(name.rsplit(".", 1)[-1])
    if not is_number:
        return ""
    try:
        return str(ip_address(host))
    except ValueError as error:
        raise UrlInvalid(
            f"{host} is not an address in its usual form, such as 192.0.2.1."
        ) from error
