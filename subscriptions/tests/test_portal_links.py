"""Making and ending portal links."""

import logging
from datetime import UTC, datetime
from io import StringIO

import pytest
from django.conf import settings
from django.test import Client
from django.utils.module_loading import import_string

from subscriptions.models import Endpoint
from subscriptions.portal import access
from subscriptions.services.endpoints import EndpointUnknown, update_endpoint
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


def test_another_host_ends_the_links_of_the_one_before(
    tenant: Tenant, actor: Actor, endpoint: Endpoint
) -> None:
    """Who runs the new one may be somebody else; another path is the same people."""
    browser, home = followed(make_link(tenant, actor, endpoint)[1])
    for url, status in ((f"{URL}/other", 200), ("https://another.example/hook", 410)):
        with acting_for(tenant):
            update_endpoint(
                tenant=tenant, actor=actor, endpoint=endpoint, changes={"url": url}
            )
        assert browser.get(home).status_code == status


def test_no_line_of_the_log_has_a_link(
    tenant: Tenant, actor: Actor, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The framework logs the paths that it refuses; mail scanners ask by HEAD."""
    monkeypatch.setattr(access, "OPENINGS", "0/m")
    _, token = make_link(tenant, actor, endpoint)
    lines = StringIO()
    handler = logging.StreamHandler(lines)
    config = settings.LOGGING["formatters"]["plain"]
    handler.setFormatter(import_string(config["class"])(config["format"]))
    logging.getLogger("django.request").addHandler(handler)
    try:
        for ask in (Client().get, Client().head, Client().post):
            assert ask(f"/portal/{token}").status_code in {405, 429}
        assert Client().get(f"/portal/{token}/more").status_code == 404
    finally:
        logging.getLogger("django.request").removeHandler(handler)
    assert lines.getvalue().count("/portal/ghl_•••") == 4
    assert token[4:] not in lines.getvalue()


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
