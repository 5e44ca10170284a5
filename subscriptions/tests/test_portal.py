"""The portal: what a link opens, for how long, and what it never shows."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client, override_settings
from django.utils import timezone

from subscriptions.models import Delivery, Endpoint, EndpointSecret, PortalLink
from subscriptions.portal import access
from subscriptions.portal.shown import reload_s
from subscriptions.sealing import Sealer
from subscriptions.services.deliveries import discard_delivery
from subscriptions.services.endpoints import EndpointUnknown, delete_endpoint
from subscriptions.services.portal import portal_url, revoke_portal_link
from subscriptions.tests.delivering import (
    deliver_until,
    deliveries,
    make_endpoint,
    publish_to,
    set_deliveries,
)
from subscriptions.tests.receivers import Reply, receiving
from subscriptions.tests.visiting import NOTE, URL, followed, make_link, newcomer, trail
from tenants.actors import Actor
from tenants.database import acting_for, pipeline
from tenants.models import AuditEntry, Tenant
from tenants.services import NewTenant
from tests.visitors import visitor


@pytest.fixture
def endpoint(tenant: Tenant) -> Endpoint:
    return make_endpoint(tenant, URL)[0]


@pytest.fixture
def opened(tenant: Tenant, actor: Actor, endpoint: Endpoint) -> tuple[Client, str]:
    return followed(make_link(tenant, actor, endpoint)[1])


def test_a_link_leads_to_its_endpoint_and_the_token_leaves_the_address(
    tenant: Tenant, actor: Actor, endpoint: Endpoint
) -> None:
    link, token = make_link(tenant, actor, endpoint)
    browser = newcomer()
    reply = browser.get(f"/portal/{token}")
    home = f"/portal/{link.public_id}/"
    assert (reply.status_code, reply["Location"]) == (302, home)
    assert reply["Referrer-Policy"] == "no-referrer"
    cookie = reply.cookies[access.COOKIE]
    assert (cookie["path"], cookie["samesite"]) == (home, "Lax")
    assert cookie["httponly"]
    assert token not in cookie.value
    page = browser.get(home)
    assert page.status_code == 200
    assert URL in page.text
    assert page["Cache-Control"] == "no-store"
    assert "default-src 'none'" in page["Content-Security-Policy"]
    assert "sessionid" not in browser.cookies
    assert trail(tenant)[-1] == ("portal_link.opened", f"portal: {NOTE}")


@override_settings(SESSION_COOKIE_SECURE=True)
def test_behind_https_the_cookie_stays_there(
    tenant: Tenant, actor: Actor, endpoint: Endpoint
) -> None:
    _, token = make_link(tenant, actor, endpoint)
    assert newcomer().get(f"/portal/{token}").cookies[access.COOKIE]["secure"]


def test_the_token_is_kept_as_its_digest_alone(
    tenant: Tenant, actor: Actor, endpoint: Endpoint
) -> None:
    link, token = make_link(tenant, actor, endpoint)
    with acting_for(tenant):
        row = PortalLink.objects.values().get(pk=link.pk)
        entries = list(AuditEntry.objects.filter(tenant=tenant).values("detail"))
    assert len(bytes(row["digest"])) == 32
    assert token not in f"{row} {entries}"
    assert portal_url(token).endswith(f"/portal/{token}")


def test_an_expired_link_opens_nothing_and_says_so(
    tenant: Tenant, actor: Actor, endpoint: Endpoint, opened: tuple[Client, str]
) -> None:
    browser, home = opened
    past = datetime.now(tz=UTC) - timedelta(hours=2)
    _, late = make_link(tenant, actor, endpoint, now=past)
    with acting_for(tenant):
        PortalLink.objects.filter(tenant=tenant).update(expires_at=past)
    for reply in (browser.get(home), newcomer().get(f"/portal/{late}")):
        assert reply.status_code == 410
        assert "This link has ended" in reply.text
        assert URL not in reply.text
    assert browser.post(f"{home}test/").status_code == 410
    assert deliveries(tenant) == []


def test_a_revoked_link_ends_with_the_pages_it_opened(
    tenant: Tenant, actor: Actor, endpoint: Endpoint
) -> None:
    link, token = make_link(tenant, actor, endpoint)
    browser, home = followed(token)
    for _ in range(2):
        with acting_for(tenant):
            revoke_portal_link(
                tenant=tenant, actor=actor, link=link, now=datetime.now(tz=UTC)
            )
    assert browser.get(home).status_code == 410
    assert browser.post(f"{home}rotate/", {"overlap_s": 0}).status_code == 410
    assert newcomer().get(f"/portal/{token}").status_code == 410
    revoked = [entry for entry in trail(tenant) if entry[0] == "portal_link.revoked"]
    assert len(revoked) == 1


@pytest.mark.parametrize("token", ["ghl_", "ghl_x", f"ghl_{'a' * 43}", "ghl_%c3%bf%ff"])
def test_what_is_no_link_is_answered_as_one_that_ended(token: str) -> None:
    assert newcomer().get(f"/portal/{token}").status_code == 410


def test_a_deleted_endpoint_ends_its_links(
    tenant: Tenant, actor: Actor, endpoint: Endpoint, opened: tuple[Client, str]
) -> None:
    browser, home = opened
    with acting_for(tenant):
        delete_endpoint(
            tenant=tenant, actor=actor, endpoint=endpoint, now=datetime.now(tz=UTC)
        )
    assert browser.get(home).status_code == 410
    with pytest.raises(EndpointUnknown):
        make_link(tenant, actor, endpoint)


def test_a_cookie_opens_no_other_links_pages(
    tenant: Tenant, actor: Actor, endpoint: Endpoint, opened: tuple[Client, str]
) -> None:
    other, _ = make_link(tenant, actor, endpoint)
    browser, home = opened
    mine = browser.cookies[access.COOKIE].value
    for link, value in (
        (other.public_id, mine),
        (home.split("/")[2], mine[:-1] + ("A" if mine[-1] != "A" else "B")),
        (home.split("/")[2], other.public_id),
    ):
        thief = Client()
        thief.cookies[access.COOKIE] = value
        assert thief.get(f"/portal/{link}/").status_code == 410


def test_neither_another_endpoints_nor_another_tenants_delivery_is_found(
    tenant: Tenant,
    stranger: NewTenant,
    endpoint: Endpoint,
    opened: tuple[Client, str],
) -> None:
    make_endpoint(tenant, "https://other.example/hook")
    make_endpoint(stranger.tenant, URL)
    publish_to(tenant)
    publish_to(stranger.tenant)
    mine, others, strangers = (
        *sorted(deliveries(tenant), key=lambda one: one.endpoint_id != endpoint.pk),
        *deliveries(stranger.tenant),
    )
    browser, home = opened
    page = browser.get(home)
    assert mine.public_id in page.text
    assert others.public_id not in page.text
    assert "other.example" not in page.text
    assert browser.get(f"{home}deliveries/{mine.public_id}/").status_code == 200
    for delivery in (others, strangers):
        path = f"{home}deliveries/{delivery.public_id}/"
        assert browser.get(path).status_code == 404
        assert browser.post(f"{path}retry/").status_code == 404
    assert browser.get("/admin/").status_code == 302
    assert browser.get("/api/v1/endpoints/").status_code == 401


def test_who_is_signed_in_to_the_console_gains_nothing_in_the_portal(
    tenant: Tenant, stranger: NewTenant, actor: Actor, endpoint: Endpoint
) -> None:
    link, token = make_link(tenant, actor, endpoint)
    admin = visitor(stranger.tenant)
    assert admin.get(f"/portal/{link.public_id}/").status_code == 410
    home = admin.get(f"/portal/{token}")["Location"]
    assert URL in admin.get(home).text
    admin.post(f"{home}test/")
    assert ("endpoint.tested", f"portal: {NOTE}") in trail(tenant)
    assert "endpoint.tested" not in [action for action, _ in trail(stranger.tenant)]


def test_buttons_are_refused_to_other_sites(
    tenant: Tenant, actor: Actor, endpoint: Endpoint
) -> None:
    _, token = make_link(tenant, actor, endpoint)
    browser = Client(enforce_csrf_checks=True)
    home = browser.get(f"/portal/{token}")["Location"]
    page = browser.get(home)
    assert browser.post(f"{home}test/").status_code == 403
    found = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert found is not None
    form = {"csrfmiddlewaretoken": found[1]}
    own = {"Origin": "http://testserver"}
    assert browser.post(f"{home}test/", form, headers=own).status_code == 302
    other = {"Origin": "https://evil.example"}
    assert browser.post(f"{home}test/", form, headers=other).status_code == 403


def test_reading_changes_nothing(opened: tuple[Client, str]) -> None:
    browser, home = opened
    for path in (f"{home}test/", f"{home}rotate/"):
        assert browser.get(path).status_code == 405


def test_a_new_secret_is_shown_once_and_the_old_one_overlaps(
    tenant: Tenant, endpoint: Endpoint, opened: tuple[Client, str]
) -> None:
    browser, home = opened
    reply = browser.post(f"{home}rotate/", {"overlap_s": 3_600})
    sealed = reply.cookies["portal_secret"].value
    assert sealed
    assert "whsec_" not in sealed
    page = browser.get(reply["Location"])
    assert re.search(r'id="secret">whsec_[A-Za-z0-9+/=]+<', page.text)
    assert "whsec_" not in browser.get(home).text.replace('"whsec_"', "")
    with acting_for(tenant):
        ends = EndpointSecret.objects.filter(tenant=tenant, endpoint=endpoint)
        assert sorted(one.expires_at is None for one in ends) == [False, True]
    assert trail(tenant)[-1] == ("endpoint.secret_rotated", f"portal: {NOTE}")


@pytest.mark.parametrize("overlap", ["", "-1", "604801", "1e3", "x\0"])
def test_an_overlap_that_is_none_makes_no_secret(
    tenant: Tenant, opened: tuple[Client, str], overlap: str
) -> None:
    browser, home = opened
    reply = browser.post(f"{home}rotate/", {"overlap_s": overlap}, follow=True)
    assert "Choose how long" in reply.text
    with acting_for(tenant):
        assert EndpointSecret.objects.filter(tenant=tenant).count() == 1


def test_a_secret_cookie_of_another_link_is_not_shown(
    opened: tuple[Client, str],
) -> None:
    browser, home = opened
    browser.cookies["portal_secret"] = "YWJj"  # noqa: S105 (a broken one)
    assert 'id="secret"' not in browser.get(home).text


def test_a_delivery_shows_its_attempts_escaped_and_is_sent_again(
    tenant: Tenant, actor: Actor
) -> None:
    answer = Reply(
        500, b"<script>alert(1)</script>", {"Set-Cookie": "session=hidden-value"}
    )
    with receiving(lambda _: answer) as receiver:
        endpoint, secret = make_endpoint(tenant, receiver.url)
        sealer = Sealer(tenant.pk, endpoint.pk)
        with acting_for(tenant):
            Endpoint.objects.filter(pk=endpoint.pk).update(
                header_names=["X-Api-Key"],
                sealed_headers=sealer.headers({"X-Api-Key": "never-shown"}),
            )
        publish_to(tenant)
        with override_settings(RETRY_SCHEDULE_S=()):
            deliver_until(tenant, "dead")
    browser, home = followed(make_link(tenant, actor, endpoint)[1])
    (delivery,) = deliveries(tenant)
    path = f"{home}deliveries/{delivery.public_id}/"
    page = browser.get(path).text
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert "hidden-value" not in page
    assert secret not in page
    assert f"webhook-id: msg_{delivery.message_id.hex}" in page
    assert "webhook-signature: v1,•••" in page
    assert "X-Api-Key: •••" in page
    assert page.count("HTTP/1.1 500") == 1
    assert "never-shown" not in page
    assert "é &amp; ü" in page
    assert browser.post(f"{path}retry/")["Location"] == path
    with acting_for(tenant):
        assert Delivery.objects.get(tenant=tenant).status == "pending"
    assert trail(tenant)[-1] == ("delivery.retried", f"portal: {NOTE}")


def test_why_the_tenant_discarded_it_is_not_told(tenant: Tenant, actor: Actor) -> None:
    endpoint, _ = make_endpoint(tenant, "http://127.0.0.1:9/hook", status="paused")
    publish_to(tenant)
    (delivery,) = deliveries(tenant)
    with acting_for(tenant):
        discard_delivery(
            tenant=tenant,
            actor=actor,
            delivery=delivery,
            reason="they do not pay",
            now=timezone.now(),
        )
    browser, home = followed(make_link(tenant, actor, endpoint)[1])
    page = browser.get(f"{home}deliveries/{delivery.public_id}/").text
    assert "<b>Cancelled</b>" in page
    assert "they do not pay" not in page


def test_what_failed_before_its_endpoint_was_paused_waits_for_that(
    tenant: Tenant, actor: Actor
) -> None:
    endpoint, _ = make_endpoint(tenant, "http://127.0.0.1:9/hook", status="paused")
    publish_to(tenant)
    set_deliveries(tenant, "last_error = 'http_error'")
    browser, home = followed(make_link(tenant, actor, endpoint)[1])
    page = browser.get(home).text
    assert ("Waits for its endpoint" in page, "Retrying" in page) == (True, False)


def test_a_button_that_cannot_be_carried_out_says_why(
    tenant: Tenant, endpoint: Endpoint, opened: tuple[Client, str]
) -> None:
    publish_to(tenant)
    (delivery,) = deliveries(tenant)
    with acting_for(tenant):
        Endpoint.objects.filter(tenant=tenant).update(status="disabled")
    browser, home = opened
    reply = browser.post(f"{home}deliveries/{delivery.public_id}/retry/", follow=True)
    assert "disabled" in reply.text


def test_the_list_is_filtered_and_paged(
    tenant: Tenant, opened: tuple[Client, str]
) -> None:
    browser, home = opened
    publish_to(tenant, 30)
    oldest, *_, newest = sorted(deliveries(tenant), key=lambda one: one.message_id)
    with acting_for(tenant):
        Delivery.objects.filter(tenant=tenant, pk=oldest.pk).update(status="dead")
    with pipeline() as lane:
        lane.execute(
            "INSERT INTO subscriptions_messagedevice VALUES (%s, 'WM-7', %s)",
            [tenant.pk, oldest.message_id],
        )
    first = browser.get(home).text
    assert first.count("<tr data-event") == 25
    assert newest.public_id in first
    found = re.search(r'href="([^"]+)" rel="next"', first)
    assert found is not None
    second = browser.get(found[1]).text
    assert second.count("<tr data-event") == 5
    assert oldest.public_id in second
    for query in (
        "status=dead",
        f"about=msg_{oldest.message_id.hex}",
        "about=WM-7",
        "status=dead&event_type=callback.processed",
    ):
        page = browser.get(f"{home}?{query}").text
        assert page.count("<tr data-event") == 1
        assert oldest.public_id in page
    for query in ("event_type=invoice.issued", "about=WM-8", "about=msg_1"):
        assert "No such message" in browser.get(f"{home}?{query}").text
    odd = browser.get(f"{home}?status=none&before=x&event_type=%00&about=%00")
    assert odd.status_code == 200


def test_a_page_is_loaded_again_only_while_news_may_come() -> None:
    now = timezone.now()
    active, paused = Endpoint(status="active"), Endpoint(status="paused")
    for endpoint, status, due_at, seconds in (
        (active, "pending", now, 3),
        (active, "pending", now + timedelta(hours=2), 30),
        (active, "pending", None, 30),
        (paused, "pending", now, 30),
        (active, "delivered", now, 0),
    ):
        one = Delivery(endpoint=endpoint, status=status, next_attempt_at=due_at)
        assert reload_s(one) == seconds


def test_haste_is_slowed_down(
    opened: tuple[Client, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, home = opened
    monkeypatch.setattr(access, "CHANGES", "2/d")
    replies = [browser.post(f"{home}rotate/") for _ in range(3)]
    assert [reply.status_code for reply in replies] == [302, 302, 429]
    assert replies[-1]["Retry-After"] == "60"
    assert browser.get(home).status_code == 200
    monkeypatch.setattr(access, "OPENINGS", "1/d")
    elsewhere = Client(REMOTE_ADDR="192.0.2.77")
    codes = [elsewhere.get("/portal/ghl_x").status_code for _ in range(2)]
    assert codes == [410, 429]
