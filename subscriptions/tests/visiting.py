"""Visitors of the portal, with a link."""

from datetime import UTC, datetime
from ipaddress import IPv4Address
from itertools import count
from typing import Any

from django.test import Client

from subscriptions.models import Endpoint, PortalLink
from subscriptions.services.portal import create_portal_link
from tenants.actors import Actor
from tenants.database import acting_for
from tenants.models import AuditEntry, Tenant

URL = "https://subscriber.example/hook"
NOTE = "Ines, Acme"


def make_link(
    tenant: Tenant, actor: Actor, endpoint: Endpoint, **changes: Any
) -> tuple[PortalLink, str]:
    with acting_for(tenant):
        return create_portal_link(
            tenant=tenant,
            actor=actor,
            endpoint=endpoint,
            **{
                "note": NOTE,
                "lifetime_s": 3_600,
                "now": datetime.now(tz=UTC),
                **changes,
            },
        )


#: Openings are counted by the address: each visitor has one of their own.
_ADDRESSES = map(str, map(IPv4Address, count(int(IPv4Address("198.18.0.1")))))


def newcomer() -> Client:
    return Client(enforce_csrf_checks=False, REMOTE_ADDR=next(_ADDRESSES))


def followed(token: str) -> tuple[Client, str]:
    """Follow the link as a browser does; return it, and where it came to."""
    browser = newcomer()
    reply = browser.get(f"/portal/{token}")
    assert reply.status_code == 302
    return browser, reply["Location"]


def trail(tenant: Tenant) -> list[tuple[str, str]]:
    """Return what was done, and by whom, oldest first."""
    with acting_for(tenant):
        rows = AuditEntry.objects.filter(tenant=tenant).order_by("pk")
        return [(row.action, row.actor) for row in rows]
