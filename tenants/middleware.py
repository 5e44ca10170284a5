"""
What stands around every request: its tenant, and what its page may load.

The tenant is found from the key or the session, and set in a transaction.
"""

from collections.abc import Callable

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect
from django.middleware.common import CommonMiddleware

from tenants import addresses
from tenants.actors import Actor
from tenants.database import acting_for
from tenants.models import Tenant
from tenants.queries import Identity, identity_of_key, identity_of_user

API_PREFIX = "/api/"
#: Pages that a link opens, for whoever holds it: a session counts for nothing there.
PORTAL_PREFIX = "/portal/"
_SERVER_ERROR = 500
#: Pages load, and send to, the platform alone, and nothing that was written into one is
#: run. Alpine and htmx evaluate what stands in their own attributes.
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class PagePolicyMiddleware:
    """Send every page with its policy; one that has its own keeps it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        response = self._get_response(request)
        if response.get("Content-Type", "").startswith("text/html"):
            response.headers.setdefault("Content-Security-Policy", PAGE_POLICY)
        return response


class _SameRequestThere(HttpResponsePermanentRedirect):
    """A redirect after which a POST is a POST still, with its body."""

    status_code = 308


class TransportPolicyMiddleware:
    """
    Have browsers come by TLS alone, where there is TLS and the operator asks for it.

    Not Django's own setting: that one has to believe a header about each request, which
    anybody may send.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        response = self._get_response(request)
        if settings.HSTS_S and settings.IS_CONSOLE_BEHIND_TLS:
            policy = f"max-age={settings.HSTS_S}"
            response.headers["Strict-Transport-Security"] = policy
        return response


class SlashMiddleware(CommonMiddleware):
    """Lead a path without its last slash to the one with it."""

    response_redirect_class = _SameRequestThere


class TenantMiddleware:
    """
    Wrap the request in a transaction in which only its tenant's rows exist.

    Sets `request.actor`; None: nobody that the platform knows. A request that ends in
    a server error leaves nothing behind.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request as its tenant."""
        request.actor = None  # type: ignore[attr-defined]
        identity = _identify(request)
        if identity is None:
            return self._get_response(request)
        with acting_for(identity.tenant_id):
            request.actor = Actor(  # type: ignore[attr-defined]
                tenant=Tenant.objects.get(pk=identity.tenant_id),
                name=identity.name,
                role=identity.role,
                address=client_address(request),
            )
            response = self._get_response(request)
            if response.status_code >= _SERVER_ERROR:
                transaction.set_rollback(True)
        return response


def client_address(request: HttpRequest) -> str | None:
    """Return the caller's address: the socket's, or what a trusted proxy says."""
    peer = str(request.META.get("REMOTE_ADDR") or "")
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR")
    address = addresses.client_address(
        peer,
        [str(forwarded)] if forwarded is not None else [],
        addresses.Networks(settings.TRUSTED_PROXIES),
    )
    return str(address or addresses.parse_address(peer) or "") or None


def _identify(request: HttpRequest) -> Identity | None:
    if request.path_info.startswith(API_PREFIX):
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        return identity_of_key(token.strip()) if kind.lower() == "bearer" else None
    if request.path_info.startswith(PORTAL_PREFIX):
        return None
    user = request.user
    if not user.is_authenticated:
        return None
    return identity_of_user(user.pk, user.email)
