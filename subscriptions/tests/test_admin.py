"""Callback URLs in the console."""

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from subscriptions.models import Delivery, DeliveryStatus, Endpoint, EndpointStatus
from tenants.database import acting_for
from tenants.models import Tenant
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


def test_buttons_pause_resume_rotate_and_delete(
    browser: Client, tenant: Tenant
) -> None:
    register(browser)
    endpoint = the_endpoint(tenant)
    press(browser, endpoint, "pause")
    assert the_endpoint(tenant).status == EndpointStatus.PAUSED
    assert "cannot be done" in press(browser, endpoint, "verify")
    press(browser, endpoint, "resume")
    assert the_endpoint(tenant).status == EndpointStatus.PENDING
    assert "whsec_" in press(browser, endpoint, "rotate")
    press(browser, endpoint, "delete")
    gone = reverse("admin:subscriptions_endpoint_change", args=[endpoint.pk])
    assert browser.get(gone).status_code == 404


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
