"""What every page of the portal has around it: the link, the wall, the headers."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone

from subscriptions.portal.access import (
    Visit,
    access_of,
    is_too_often,
    portal_actor,
)
from subscriptions.queries.endpoints import endpoints_of
from subscriptions.queries.portal import PortalAccess
from tenants.database import acting_for
from tenants.models import Tenant
from tenants.problems import NotFound, Problem

#: Nothing but the platform's own files, and no page around this one.
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_SERVER_ERROR = 500

Page = Callable[..., HttpResponse]


def behind_link(page: Page) -> Page:
    """Show a page to the holder of a link that is in force, in its tenant's wall."""

    @wraps(page)
    def guarded(request: HttpRequest, link: str, **parts: Any) -> HttpResponse:
        access = access_of(request, link)
        if access is None:
            return has_ended(request)
        if is_too_often(request, link):
            return asks_too_often(request)
        with acting_for(access.tenant_id):
            reply = _answer(request, access, page, parts)
            if reply.status_code >= _SERVER_ERROR:
                transaction.set_rollback(True)
        return guarded_reply(reply)

    return guarded


def _answer(
    request: HttpRequest, access: PortalAccess, page: Page, parts: dict[str, Any]
) -> HttpResponse:
    tenant = Tenant.objects.get(pk=access.tenant_id)
    endpoint = endpoints_of(tenant).filter(pk=access.endpoint_id).first()
    if endpoint is None:
        return has_ended(request)
    visit = Visit(
        access.link_id,
        tenant,
        endpoint,
        portal_actor(tenant, access, request),
        access.note,
        access.expires_at,
    )
    with timezone.override(tenant.zone):
        return _carried_out(request, visit, page, parts)


def _carried_out(
    request: HttpRequest, visit: Visit, page: Page, parts: dict[str, Any]
) -> HttpResponse:
    """Answer what cannot be done in words, where the visitor was."""
    try:
        return page(request, visit, **parts)
    except NotFound as problem:
        context = {"visit": visit, "text": str(problem)}
        return render(request, "portal/missing.html", context, status=404)
    except Problem as problem:
        messages.error(request, str(problem) or problem.title)
        return HttpResponseRedirect(visit.home)


def has_ended(request: HttpRequest) -> HttpResponse:
    """Say that the link opens nothing (any more); which of the two is not told."""
    return guarded_reply(render(request, "portal/ended.html", status=410))


def asks_too_often(request: HttpRequest) -> HttpResponse:
    """Ask for a pause."""
    reply = render(request, "portal/busy.html", status=429)
    reply["Retry-After"] = "60"
    return guarded_reply(reply)


def guarded_reply(reply: HttpResponse) -> HttpResponse:
    """Keep a page out of caches, frames and search engines."""
    reply["Content-Security-Policy"] = _POLICY
    reply["Cache-Control"] = "no-store"
    reply["X-Robots-Tag"] = "noindex, nofollow"
    # `no-referrer` would make a form's Origin `null`, which the forgery check refuses.
    reply.headers.setdefault("Referrer-Policy", "same-origin")
    return reply
