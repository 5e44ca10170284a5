"""Callback URLs in the console."""

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from subscriptions.catalogue import CATALOGUE
from subscriptions.models import Delivery, DeliveryStatus, Endpoint, EndpointStatus
from tenants.database import acting_for
from tenants.models import Role, Tenant
from tests.visitors import visitor

URL = "http://127.0.0.1:9/hook"


@pytest.fixture
def browser(tenant: Tenant) -> Client:
    return visitor(tenant)


def register(browser: Client, **changed: Any) -> Any:
    asked = {"url": URL, "event_types": ["callback.processed"], **changed}
    return browser.post(reverse("admin:subscriptions_endpoint_add"), asked)


def the_endpoint(tenant: Tenant) -> Endpoint:
    with acting_for(tenant):
        return Endpoint.objects.get(tenant=tenant)


def press(browser: Client, thing: Endpoint | Delivery, button: str) -> str:
    route = f"admin:subscriptions_{thing._meta.model_name}_do"
    reply = browser.post(reverse(route, args=[thing.pk, button]), follow=True)
    return reply.content.decode()


def test_a_registered_url_shows_its_secret_once(
    browser: Client, tenant: Tenant
) -> None:
    page = register(browser)["Location"]
    assert re.search(r"whsec_[\w+/=]{40,}", browser.get(page).content.decode())
    assert "whsec_" not in browser.get(page).content.decode()
    assert the_endpoint(tenant).event_types == ["callback.processed"]


def test_what_the_service_refuses_is_said_above_the_form(browser: Client) -> None:
    refused = register(browser, url="http://10.0.0.1/hook")
    assert refused.status_code == 200
    assert "errornote" in refused.content.decode()
    none = register(browser, event_types=[])
    assert "This field is required" in none.content.decode()


def test_buttons_pause_resume_and_delete(browser: Client, tenant: Tenant) -> None:
    register(browser)
    endpoint = the_endpoint(tenant)
    press(browser, endpoint, "pause")
    assert the_endpoint(tenant).status == EndpointStatus.PAUSED
    assert "cannot be done" in press(browser, endpoint, "verify")
    press(browser, endpoint, "resume")
    assert the_endpoint(tenant).status == EndpointStatus.PENDING
    press(browser, endpoint, "delete")
    gone = reverse("admin:subscriptions_endpoint_change", args=[endpoint.pk])
    assert browser.get(gone).status_code == 404


def test_a_new_url_that_is_being_asked_is_given_up_by_a_button(
    browser: Client, tenant: Tenant
) -> None:
    register(browser)
    with acting_for(tenant):
        Endpoint.objects.filter(tenant=tenant).update(
            status=EndpointStatus.ACTIVE,
            status_detail="The new URL: no consent.",
            proposed_url=f"{URL}/new",
        )
    endpoint = the_endpoint(tenant)
    page = reverse("admin:subscriptions_endpoint_change", args=[endpoint.pk])
    assert "Keep the old URL" in browser.get(page).content.decode()
    assert "stays" in press(browser, endpoint, "keep")
    kept = the_endpoint(tenant)
    assert (kept.url, kept.proposed_url, kept.status) == (URL, "", "active")
    assert kept.status_detail == ""
    assert "Keep the old URL" not in browser.get(page).content.decode()


def test_a_test_is_in_the_log_and_a_dead_delivery_is_sent_again(
    browser: Client, tenant: Tenant
) -> None:
    register(browser)
    assert "endpoint.test" in press(browser, the_endpoint(tenant), "test")
    with acting_for(tenant):
        Delivery.objects.filter(tenant=tenant).update(status=DeliveryStatus.DEAD)
        delivery = Delivery.objects.get(tenant=tenant)
    assert "is due again now" in press(browser, delivery, "retry")
    with acting_for(tenant):
        delivery.refresh_from_db()
    assert delivery.status == DeliveryStatus.PENDING


def test_a_cancelled_delivery_is_not_sent_again(
    browser: Client, tenant: Tenant
) -> None:
    register(browser)
    press(browser, the_endpoint(tenant), "test")
    with acting_for(tenant):
        Delivery.objects.filter(tenant=tenant).update(status=DeliveryStatus.CANCELLED)
        delivery = Delivery.objects.get(tenant=tenant)
    assert "cannot be done" in press(browser, delivery, "retry")


def test_the_catalogue_shows_every_type_with_its_schema_and_an_example(
    browser: Client, tenant: Tenant
) -> None:
    register(browser, event_types=["reading.corrected"])
    address = reverse("admin:subscriptions_message_event_types")
    shown = browser.get(address).content.decode()
    for name in CATALOGUE:
        assert f'id="{name}"' in shown
    assert "1 endpoint hears of it" in shown
    assert "2020-12" in shown
    assert visitor(tenant, Role.CLERK).get(address).status_code == 403


def test_the_list_says_how_each_endpoint_stands(
    browser: Client, tenant: Tenant
) -> None:
    register(browser)
    press(browser, the_endpoint(tenant), "test")
    listed: Any = browser.get(reverse("admin:subscriptions_endpoint_changelist"))
    (row,) = listed.context_data["cl"].result_list
    assert (row.health.waiting, row.health.attempts) == (1, 0)


def test_the_log_shows_one_status_alone(browser: Client, tenant: Tenant) -> None:
    register(browser)
    endpoint = the_endpoint(tenant)
    press(browser, endpoint, "test")
    address = reverse("admin:subscriptions_endpoint_change", args=[endpoint.pk])
    for status, sees in (
        ("", True),
        ("pending", True),
        ("dead", False),
        ("cancelled", False),
        ("nonsense", True),
    ):
        shown = browser.get(address, {"status": status}).content.decode()
        assert ('data-event="endpoint.test"' in shown) is sees, status
