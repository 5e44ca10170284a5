"""Who counts as one caller where requests of anybody are limited."""

from ipaddress import IPv6Address, IPv6Network

from django.http import HttpRequest

from tenants.addresses import parse_address
from tenants.middleware import client_address

#: Of an IPv6 address, what one customer of a network has to themselves.
_PREFIX = 64


def caller(group: str, request: HttpRequest) -> str:
    """Return the address that the request counts for, as `is_ratelimited` asks."""
    found = parse_address(client_address(request) or "")
    if isinstance(found, IPv6Address):
        return str(IPv6Network((found, _PREFIX), strict=False))
    return str(found or "")
