"""Links that let a subscriber's engineer look after one endpoint for a while."""

import secrets
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from subscriptions.models import Endpoint, PortalLink
from subscriptions.queries.endpoints import endpoints_of, portal_links
from subscriptions.services.endpoints import EndpointUnknown
from tenants.actors import Actor
from tenants.models import Tenant
from tenants.problems import Conflict, Problem
from tenants.queries import key_digest
from tenants.services import record_audit

TOKEN_PREFIX = "ghl_"  # noqa: S105 (its beginning, the same in each)
LIFETIME_DEFAULT_S = 86_400
LIFETIME_LEAST_S = 900
LIFETIME_LIMIT_S = 604_800
#: Links that open one endpoint at once.
LINK_LIMIT = 20
NOTE_LENGTH = 200


class PortalLinkInvalid(Problem):
    """The lifetime or the note is out of bounds."""

    code = "portal_link_invalid"
    title = "The portal link cannot be made"


class PortalLinkLimitReached(Conflict):
    """As many links open the endpoint as may."""

    code = "portal_link_limit_reached"


@transaction.atomic
def create_portal_link(
    *,
    tenant: Tenant,
    actor: Actor,
    endpoint: Endpoint,
    note: str,
    lifetime_s: int,
    now: datetime,
) -> tuple[PortalLink, str]:
    """
    Return a link to the portal of one endpoint, and its token, shown this once.

    Raises: PortalLinkInvalid, PortalLinkLimitReached, EndpointUnknown.
    """
    _check(note, lifetime_s)
    current = _locked(tenant, endpoint)
    if portal_links(tenant, current, now).count() >= LINK_LIMIT:
        raise PortalLinkLimitReached(
            f"{LINK_LIMIT} links open this endpoint already. Revoke one first."
        )
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    link = PortalLink.objects.create(
        tenant=tenant,
        endpoint=current,
        digest=key_digest(token),
        note=note.strip(),
        created_by=actor.name,
        expires_at=now + timedelta(seconds=lifetime_s),
    )
    record_audit(
        actor=actor,
        action="portal_link.created",
        subject=current.public_id,
        detail={"link": link.public_id, "note": link.note, "lifetime_s": lifetime_s},
    )
    return link, token


def _check(note: str, lifetime_s: int) -> None:
    if not LIFETIME_LEAST_S <= lifetime_s <= LIFETIME_LIMIT_S:
        raise PortalLinkInvalid(
            f"A link lives from {LIFETIME_LEAST_S} to {LIFETIME_LIMIT_S} seconds."
        )
    if len(note) > NOTE_LENGTH or not note.isprintable():
        raise PortalLinkInvalid(
            f"The note has at most {NOTE_LENGTH} characters, on one line."
        )


def _locked(tenant: Tenant, endpoint: Endpoint) -> Endpoint:
    """Have others wait who count the endpoint's links; messages flow meanwhile."""
    mine = endpoints_of(tenant).select_for_update(no_key=True)
    found = mine.filter(pk=endpoint.pk).first()
    if found is None:
        raise EndpointUnknown("There is no such endpoint.")
    return found


@transaction.atomic
def revoke_portal_link(
    *, tenant: Tenant, actor: Actor, link: PortalLink, now: datetime
) -> None:
    """
    End a link at once, with every page that it opened.

    One that has ended already stays as it is.
    """
    open_links = PortalLink.objects.filter(tenant=tenant, pk=link.pk, revoked_at=None)
    if open_links.update(revoked_at=now):
        record_audit(
            actor=actor,
            action="portal_link.revoked",
            subject=link.endpoint.public_id,
            detail={"link": link.public_id, "note": link.note},
        )


@transaction.atomic
def record_opening(*, tenant: Tenant, actor: Actor, link: PortalLink) -> None:
    """Write down that the link was followed, and from where."""
    record_audit(
        actor=actor,
        action="portal_link.opened",
        subject=link.endpoint.public_id,
        detail={"link": link.public_id},
    )


def portal_url(token: str) -> str:
    """Return the address to send to whom the link is for."""
    return f"{settings.CONSOLE_URL}/portal/{token}"
