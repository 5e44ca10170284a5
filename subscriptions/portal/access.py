"""
Who is at the door of the portal: a link's token once, then a signed cookie.

The token leaves the address with the first answer. The cookie says which link it is of
and goes to that link's pages alone, so that two links are open side by side. It proves
nothing by itself: every request asks whether the link still opens anything.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django_ratelimit.core import is_ratelimited

from subscriptions.models import Endpoint, PortalLink
from subscriptions.queries.portal import PortalAccess, access_by_link
from tenants import vault
from tenants.actors import Actor
from tenants.callers import caller
from tenants.identifiers import IdentifierInvalid, parse_public_id, public_id
from tenants.middleware import PORTAL_PREFIX, client_address
from tenants.models import Role, Tenant

COOKIE = "portal"
_SECRET_COOKIE = "portal_secret"  # noqa: S105 (a name)
_SALT = "subscriptions.portal"
#: How long a new secret waits to be shown, sealed, in the browser that asked for it.
_SECRET_S = 60
#: Links followed from one address, pages of one link, and changes by one link.
OPENINGS = "30/m"
PAGES = "240/m"
CHANGES = "30/m"


@dataclass(frozen=True)
class Visit:
    """Someone with a link, at the pages of its endpoint."""

    link_id: UUID
    tenant: Tenant
    endpoint: Endpoint
    actor: Actor
    note: str
    expires_at: datetime

    @property
    def home(self) -> str:
        """The first page's path."""
        return home_of(self.link_id)


def home_of(link_id: UUID) -> str:
    """Return the path of a link's first page, above all its others."""
    return f"{PORTAL_PREFIX}{public_id('pl', link_id)}/"


def portal_actor(tenant: Tenant, access: PortalAccess, request: HttpRequest) -> Actor:
    """Return who the audit trail says it was: whom the link was made for."""
    name = access.note or public_id("pl", access.link_id)
    return Actor(
        tenant=tenant,
        name=f"portal: {name}",
        role=Role.AUDITOR,
        address=client_address(request),
    )


def let_in(reply: HttpResponse, access: PortalAccess) -> None:
    """Give the browser the cookie that opens the link's pages."""
    _set_cookie(
        reply,
        COOKIE,
        signing.dumps(public_id("pl", access.link_id), salt=_SALT),
        access.link_id,
        expires_at=access.expires_at,
    )


def access_of(request: HttpRequest, link: str) -> PortalAccess | None:
    """Return what the request's cookie opens of this link; None: nothing any more."""
    try:
        named = signing.loads(request.COOKIES.get(COOKIE, ""), salt=_SALT)
        link_id = parse_public_id("pl", link)
    except (signing.BadSignature, IdentifierInvalid):
        return None
    return access_by_link(link_id) if named == link else None


def put_secret_by(reply: HttpResponse, visit: Visit, secret: str) -> None:
    """Keep a new secret, sealed, until the next page shows it."""
    sealed = vault.seal(secret.encode(), context=_context(visit))
    _set_cookie(
        reply,
        _SECRET_COOKIE,
        b64encode(sealed).decode(),
        visit.link_id,
        max_age=_SECRET_S,
    )


def take_secret(request: HttpRequest, visit: Visit) -> str | None:
    """Return the secret that was put by; None: there is none."""
    try:
        sealed = b64decode(request.COOKIES.get(_SECRET_COOKIE, ""), validate=True)
        return vault.unseal(sealed, context=_context(visit)).decode()
    except (ValueError, vault.SealBroken):
        return None


def forget_secret(reply: HttpResponse, visit: Visit) -> None:
    """Have the browser forget the secret that was shown."""
    reply.delete_cookie(_SECRET_COOKIE, path=visit.home, samesite="Lax")


def _context(visit: Visit) -> str:
    return f"portal:shown-once:{visit.tenant.pk}:{visit.link_id.hex}"


def _set_cookie(
    reply: HttpResponse,
    name: str,
    value: str,
    link_id: UUID,
    *,
    max_age: int | None = None,
    expires_at: datetime | None = None,
) -> None:
    # Lax, not Strict: a link in a mail comes from another site, and so does the page
    # that it leads to.
    reply.set_cookie(
        name,
        value,
        max_age=max_age,
        expires=expires_at,
        path=home_of(link_id),
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def is_too_often(request: HttpRequest, link: str | None = None) -> bool:
    """Count the request; tell whether it is one too many."""
    if link is None:
        return _is_over(request, "opening", caller, OPENINGS)
    is_over = _is_over(request, "page", lambda *_: link, PAGES)
    if request.method == "POST":
        is_over |= _is_over(request, "change", lambda *_: link, CHANGES)
    return is_over


def _is_over(
    request: HttpRequest,
    name: str,
    key: Callable[[str, HttpRequest], str],
    rate: str,
) -> bool:
    return bool(
        is_ratelimited(
            request, group=f"portal-{name}", key=key, rate=rate, increment=True
        )
    )


def link_of(tenant: Tenant, link_id: UUID) -> PortalLink:
    """Return the link itself, with its endpoint."""
    mine = PortalLink.objects.filter(tenant=tenant).select_related("endpoint")
    return mine.get(pk=link_id)
