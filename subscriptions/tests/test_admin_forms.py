"""The forms about a callback URL in the console."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from subscriptions.models import (
    Delivery,
    DeliveryStatus,
    DeviceGroup,
    Endpoint,
    EndpointSecret,
    MaintenanceWindow,
    PortalLink,
    Redelivery,
)
from subscriptions.tests.delivering import delivery_of, make_endpoint, publish_to
from tenants.database import acting_for
from tenants.models import AuditEntry, Role, Tenant
from tenants.services import NewTenant
from tests.visitors import visitor

URL = "http://127.0.0.1:9/hook"
FORMS = (
    "edit",
    "credentials",
    "rotate",
    "window",
    "portal",
    "recover",
    "replay",
    "discard",
)


@pytest.fixture
def browser(tenant: Tenant) -> Client:
    return visitor(tenant)


@pytest.fixture
def endpoint(tenant: Tenant) -> Endpoint:
    made, _ = make_endpoint(tenant, URL, status="paused", description="ours")
    return made


def address(name: str, *of: Any, kind: str = "endpoint") -> str:
    return reverse(f"admin:subscriptions_{kind}_{name}", args=of)


def sent(browser: Client, form: str, endpoint: Endpoint, **data: Any) -> str:
    """Send a form; return the page that follows."""
    reply = browser.post(address(form, endpoint.pk), data, follow=True)
    return reply.content.decode()


def fresh(endpoint: Endpoint) -> Endpoint:
    with acting_for(endpoint.tenant_id):
        return Endpoint.objects.get(tenant=endpoint.tenant_id, pk=endpoint.pk)


def as_shown(browser: Client, endpoint: Endpoint) -> dict[str, Any]:
    """Return what a browser would send of the form for changes, untouched."""
    reply: Any = browser.get(address("edit", endpoint.pk))
    form = reply.context_data["form"]
    return {
        bound.name: value
        for bound in form
        if (value := bound.value()) not in (None, False, "")
    }


def test_a_form_sent_as_it_was_shown_changes_nothing(
    browser: Client, endpoint: Endpoint
) -> None:
    before = fresh(endpoint)
    page = sent(browser, "edit", endpoint, **as_shown(browser, endpoint))
    assert "Nothing was changed" in page
    after = fresh(endpoint)
    assert after.event_types == before.event_types == ["*"]
    assert after.consent_due_at == before.consent_due_at


def test_every_setting_is_changed_by_the_form(
    browser: Client, tenant: Tenant, endpoint: Endpoint
) -> None:
    with acting_for(tenant):
        DeviceGroup.objects.create(tenant=tenant, name="North", devices=["WM-1"])
    wanted = {
        **as_shown(browser, endpoint),
        "description": "theirs",
        "event_types": ["reading.*", "invoice.issued"],
        "devices": "WM-1\r\nWM-2*\r\n",
        "device_groups": ["North"],
        "channels": "main",
        "payload": "thin",
        "ordered": "on",
        "manifest": "on",
        "batch_size": 50,
        "batch_wait_s": 9,
        "max_rate_per_min": 600,
        "max_concurrency": 4,
        "drain_rate_per_min": 120,
    }
    assert "new settings" in sent(browser, "edit", endpoint, **wanted)
    changed = fresh(endpoint)
    assert changed.event_types == ["invoice.issued", "reading.*"]
    assert changed.filters == {
        "devices": ["WM-1", "WM-2*"],
        "device_groups": ["North"],
        "channels": ["main"],
    }
    assert (changed.payload, changed.is_ordered, changed.has_manifest) == (
        "thin",
        True,
        True,
    )
    assert (changed.batch_size, changed.batch_wait_s) == (50, 9)
    assert (changed.max_rate_per_min, changed.max_concurrency) == (600, 4)
    assert changed.drain_rate_per_min == 120
    page = browser.get(address("change", endpoint.pk)).content.decode()
    for words in ("WM-2*", "Ids alone", "in order by device", "up to 50 messages"):
        assert words in page


def test_what_the_service_refuses_is_said_above_the_form(
    browser: Client, endpoint: Endpoint
) -> None:
    wanted = {**as_shown(browser, endpoint), "url": "http://10.0.0.1/hook"}
    assert "errornote" in sent(browser, "edit", endpoint, **wanted)
    assert fresh(endpoint).url == URL


def test_credentials_are_written_and_never_shown(
    browser: Client, endpoint: Endpoint
) -> None:
    page = sent(
        browser,
        "credentials",
        endpoint,
        extra_signatures=["v1a"],
        headers="X-Api-Key: open sesame\r\nX-Tenant: north",
        token_url="http://127.0.0.1:9/token",  # noqa: S106 (an address)
        client_id="gridhook",
        client_secret="close sesame",  # noqa: S106 (a test's own)
    )
    kept = fresh(endpoint)
    assert sorted(kept.header_names) == ["X-Api-Key", "X-Tenant"]
    assert kept.extra_signatures == ["v1a"]
    assert kept.oauth2_client_id == "gridhook"
    form = browser.get(address("credentials", endpoint.pk)).content.decode()
    for shown in (page, form):
        assert "sesame" not in shown
    assert "X-Api-Key" in page


def test_a_form_that_is_refused_repeats_no_secret(
    browser: Client, endpoint: Endpoint
) -> None:
    refused = sent(
        browser,
        "credentials",
        endpoint,
        headers="X-Api-Key: open sesame\r\nno colon sesame",
        key="sesame",
        client_secret="sesame",  # noqa: S106 (a test's own)
    )
    assert "each name once" in refused
    assert "sesame" not in refused
    forbidden = sent(browser, "credentials", endpoint, headers="Host: sesame")
    assert "Host may not be set" in forbidden
    assert "sesame" not in forbidden
    assert fresh(endpoint).header_names == []


def test_credentials_are_removed_when_that_is_ticked_alone(
    browser: Client, endpoint: Endpoint
) -> None:
    sent(browser, "credentials", endpoint, headers="X-Api-Key: open sesame")
    assert "Nothing was changed" in sent(browser, "credentials", endpoint)
    assert fresh(endpoint).header_names == ["X-Api-Key"]
    sent(browser, "credentials", endpoint, remove_headers="on")
    assert fresh(endpoint).header_names == []


def test_another_host_with_credentials_kept_is_refused_with_what_to_do(
    browser: Client, endpoint: Endpoint
) -> None:
    sent(browser, "credentials", endpoint, headers="X-Api-Key: open sesame")
    wanted = {**as_shown(browser, endpoint), "url": "http://127.0.0.1:10/hook"}
    assert "remove it under Credentials" in sent(browser, "edit", endpoint, **wanted)
    assert fresh(endpoint).url == URL
    sent(browser, "credentials", endpoint, remove_headers="on")
    sent(browser, "edit", endpoint, **wanted)
    assert fresh(endpoint).url == "http://127.0.0.1:10/hook"


def test_a_new_secret_is_shown_once_and_the_old_one_ends_as_asked(
    browser: Client, tenant: Tenant, endpoint: Endpoint
) -> None:
    assert "whsec_" in sent(browser, "rotate", endpoint, overlap_s=3600)
    assert "whsec_" not in browser.get(address("change", endpoint.pk)).content.decode()
    with acting_for(tenant):
        old, new = EndpointSecret.objects.filter(tenant=tenant).order_by("pk")
    left = old.expires_at and (old.expires_at - timezone.now()).total_seconds()
    assert new.expires_at is None
    assert left == pytest.approx(3600, abs=60)


def test_a_window_is_planned_in_the_tenants_zone_and_called_off(
    browser: Client, tenant: Tenant, endpoint: Endpoint
) -> None:
    begin = timezone.now().astimezone(tenant.zone) + timedelta(days=1)
    begin = begin.replace(hour=8, minute=0, second=0, microsecond=0)
    page = sent(
        browser,
        "window",
        endpoint,
        start_at=f"{begin:%Y-%m-%dT%H:%M}",
        end_at=f"{begin:%Y-%m-%dT10:30}",
        reason="new <b>racks</b>",
    )
    assert "new &lt;b&gt;racks" in page
    with acting_for(tenant):
        window = MaintenanceWindow.objects.get(tenant=tenant)
    assert (window.start_at, window.end_at - window.start_at) == (
        begin,
        timedelta(hours=2, minutes=30),
    )
    end = address("end_window", endpoint.pk, window.pk)
    assert browser.get(end).status_code == 405
    browser.post(end)
    with acting_for(tenant):
        assert not MaintenanceWindow.objects.filter(tenant=tenant).exists()
    assert browser.post(end).status_code == 404


def test_a_portal_link_is_shown_once_and_revoked(
    browser: Client, tenant: Tenant, endpoint: Endpoint
) -> None:
    page = sent(browser, "portal", endpoint, note="Eline at Acme", lifetime_s=3600)
    assert "/portal/ghl_" in page
    again = browser.get(address("change", endpoint.pk)).content.decode()
    assert "/portal/ghl_" not in again
    assert "Eline at Acme" in again
    with acting_for(tenant):
        link = PortalLink.objects.get(tenant=tenant)
    browser.post(address("revoke_link", endpoint.pk, link.pk))
    with acting_for(tenant):
        link.refresh_from_db()
    assert link.revoked_at is not None


def test_what_was_given_up_is_recovered_and_that_is_shown(
    browser: Client, tenant: Tenant, endpoint: Endpoint
) -> None:
    publish_to(tenant, 2)
    with acting_for(tenant):
        Delivery.objects.filter(tenant=tenant).update(
            status=DeliveryStatus.DEAD, finished_at=timezone.now()
        )
    since = timezone.localtime() - timedelta(days=1)
    page = sent(
        browser, "recover", endpoint, since=f"{since:%Y-%m-%dT%H:%M}", rate_per_s=7
    )
    assert "2 messages to send" in page
    assert "0 of 2" in page
    with acting_for(tenant):
        redelivery = Redelivery.objects.get(tenant=tenant)
    assert (redelivery.total, redelivery.rate_per_s) == (2, 7)
    cancel = address("do", redelivery.pk, "cancel", kind="redelivery")
    assert "It is cancelled" in browser.post(cancel, follow=True).content.decode()


def test_a_devices_messages_are_replayed_by_period(
    browser: Client, tenant: Tenant, endpoint: Endpoint
) -> None:
    now = timezone.now().astimezone(tenant.zone)
    page = sent(
        browser,
        "replay",
        endpoint,
        device="WM-1",
        since=f"{now - timedelta(days=2):%Y-%m-%dT%H:%M}",
        until=f"{now:%Y-%m-%dT%H:%M}",
        rate_per_s=10,
    )
    assert "There is nothing to send in that time" in page
    with acting_for(tenant):
        assert Redelivery.objects.get(tenant=tenant).device == "WM-1"


def test_what_is_dead_is_discarded_with_a_reason(
    browser: Client, tenant: Tenant, endpoint: Endpoint
) -> None:
    publish_to(tenant)
    with acting_for(tenant):
        Delivery.objects.filter(tenant=tenant).update(
            status=DeliveryStatus.DEAD, finished_at=timezone.now()
        )
    assert "1 message discarded" in sent(browser, "discard", endpoint, reason="bench")
    delivery = delivery_of(tenant)
    assert (delivery.status, delivery.cancel_reason) == ("cancelled", "bench")
    with acting_for(tenant):
        entries = AuditEntry.objects.filter(tenant=tenant)
        assert any(entry.detail.get("reason") == "bench" for entry in entries)


def test_one_delivery_is_discarded_from_its_page(
    browser: Client, tenant: Tenant, endpoint: Endpoint
) -> None:
    publish_to(tenant)
    delivery = delivery_of(tenant)
    form = address("discard", delivery.pk, kind="delivery")
    assert (
        form
        in browser.get(address("change", delivery.pk, kind="delivery")).content.decode()
    )
    page = browser.post(form, {"reason": "a test bench"}, follow=True)
    assert "a test bench" in page.content.decode()
    assert delivery_of(tenant).status == "cancelled"


def test_neither_a_stranger_nor_an_auditor_opens_a_form(
    tenant: Tenant, stranger: NewTenant, endpoint: Endpoint
) -> None:
    publish_to(tenant)
    pages = [address(name, endpoint.pk) for name in FORMS]
    pages.append(address("discard", delivery_of(tenant).pk, kind="delivery"))
    for who, status in (
        (visitor(stranger.tenant), 404),
        (visitor(tenant, Role.AUDITOR), 403),
        (visitor(tenant, Role.CLERK), 403),
    ):
        for page in pages:
            assert who.get(page).status_code == status, page
            assert who.post(page, {"reason": "mine"}).status_code == status, page
    assert delivery_of(tenant).status == "pending"


def test_a_window_and_a_link_of_another_tenant_are_not_found(
    tenant: Tenant, stranger: NewTenant, endpoint: Endpoint
) -> None:
    theirs, _ = make_endpoint(stranger.tenant, URL, status="paused")
    browser = visitor(stranger.tenant)
    now = timezone.now()
    with acting_for(tenant):
        window = MaintenanceWindow.objects.create(
            tenant=tenant,
            endpoint=endpoint,
            start_at=now,
            end_at=now + timedelta(hours=1),
        )
    for owner in (endpoint, theirs):
        reply = browser.post(address("end_window", owner.pk, window.pk))
        assert reply.status_code == 404
        assert (
            browser.post(address("revoke_link", owner.pk, window.pk)).status_code == 404
        )
    with acting_for(tenant):
        window.refresh_from_db()
    assert window.end_at > now
