"""Making and ending portal links."""

from datetime import UTC, datetime

import pytest

from subscriptions.models import Endpoint
from subscriptions.services.endpoints import EndpointUnknown
from subscriptions.services.portal import (
    LIFETIME_LEAST_S,
    LIFETIME_LIMIT_S,
    LINK_LIMIT,
    PortalLinkInvalid,
    PortalLinkLimitReached,
    revoke_portal_link,
)
from subscriptions.tests.delivering import make_endpoint
from subscriptions.tests.visiting import URL, followed, make_link, trail
from tenants.actors import Actor
from tenants.database import acting_for
from tenants.models import Tenant
from tenants.services import NewTenant


@pytest.fixture
def endpoint(tenant: Tenant) -> Endpoint:
    return make_endpoint(tenant, URL)[0]


def test_the_lifetime_and_the_note_have_bounds(
    tenant: Tenant, actor: Actor, endpoint: Endpoint
) -> None:
    for wrong in (
        {"lifetime_s": LIFETIME_LEAST_S - 1},
        {"lifetime_s": LIFETIME_LIMIT_S + 1},
        {"note": "x" * 201},
        {"note": "two\nlines"},
        {"note": "\0"},
    ):
        with pytest.raises(PortalLinkInvalid):
            make_link(tenant, actor, endpoint, **wrong)
    link, _ = make_link(tenant, actor, endpoint, lifetime_s=LIFETIME_LEAST_S, note="")
    _, token = make_link(tenant, actor, endpoint, note="")
    browser, home = followed(token)
    browser.post(f"{home}test/")
    assert trail(tenant)[-1][1].startswith("portal: pl_")
    assert link.note == ""


def test_an_endpoint_has_a_bounded_number_of_links(
    tenant: Tenant, actor: Actor, endpoint: Endpoint
) -> None:
    links = [make_link(tenant, actor, endpoint)[0] for _ in range(LINK_LIMIT)]
    with pytest.raises(PortalLinkLimitReached):
        make_link(tenant, actor, endpoint)
    with acting_for(tenant):
        revoke_portal_link(
            tenant=tenant, actor=actor, link=links[0], now=datetime.now(tz=UTC)
        )
    make_link(tenant, actor, endpoint)


def test_another_tenant_makes_and_revokes_no_link(
    tenant: Tenant, actor: Actor, stranger: NewTenant, endpoint: Endpoint
) -> None:
    link, token = make_link(tenant, actor, endpoint)
    with acting_for(stranger.tenant):
        revoke_portal_link(
            tenant=stranger.tenant,
            actor=Actor(stranger.tenant, "x", actor.role),
            link=link,
            now=datetime.now(tz=UTC),
        )
    followed(token)
    with pytest.raises(EndpointUnknown):
        make_link(stranger.tenant, actor, endpoint)
