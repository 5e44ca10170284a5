"""Finding deliveries in the console, and what has not arrived."""

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from subscriptions.events import Event
from subscriptions.filtering import Subject
from subscriptions.models import Delivery, DeliveryStatus, Endpoint
from subscriptions.services.publishing import publish
from subscriptions.tests.delivering import (
    deliveries,
    make_endpoint,
    publish_to,
    set_deliveries,
    set_endpoint,
)
from tenants.database import acting_for, pipeline
from tenants.identifiers import new_id, public_id
from tenants.models import Role, Tenant
from tenants.services import NewTenant
from tests.visitors import visitor

LIST = "admin:subscriptions_delivery_changelist"
UNDELIVERED = "admin:subscriptions_delivery_undelivered"


@pytest.fixture
def browser(tenant: Tenant) -> Client:
    return visitor(tenant)


@pytest.fixture
def endpoint(tenant: Tenant) -> Endpoint:
    made, _ = make_endpoint(tenant, "http://127.0.0.1:9/hook", status="paused")
    publish_to(tenant, 2)
    return made


def found(browser: Client, text: str) -> list[Delivery]:
    reply: Any = browser.get(reverse(LIST), {"q": text})
    return list(reply.context_data["cl"].result_list)


def given_up(tenant: Tenant, count: int) -> None:
    with acting_for(tenant):
        some = [one.pk for one in deliveries(tenant)[:count]]
        Delivery.objects.filter(tenant=tenant, pk__in=some).update(
            status=DeliveryStatus.DEAD,
            finished_at=timezone.now(),
            last_error="http_error",
            last_status_code=404,
        )


def test_what_failed_and_waits_for_a_stopped_endpoint_is_not_said_to_be_retried(
    browser: Client, tenant: Tenant, endpoint: Endpoint
) -> None:
    change = reverse("admin:subscriptions_endpoint_change", args=[endpoint.pk])
    pages = (reverse(LIST), change)
    set_deliveries(tenant, "last_error = 'http_error', last_status_code = 500")
    for page in pages:
        shown = browser.get(page).content.decode()
        assert "Waits for its endpoint" in shown
        assert "Retrying" not in shown
    set_endpoint(endpoint, status="active")
    for page in pages:
        assert "Retrying" in browser.get(page).content.decode()


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("subscriptions_delivery_undelivered", "Undelivered"),
        ("subscriptions_message_event_types", "Event types"),
    ],
)
def test_a_page_of_its_own_is_headed_by_its_own_name(
    browser: Client, name: str, title: str
) -> None:
    shown = browser.get(reverse(f"admin:{name}")).content.decode()
    (head,) = re.findall(r"<h1.*?</h1>", shown, re.DOTALL)
    assert re.sub(r"<[^>]*>", "", head).split() == title.split()


def test_a_delivery_is_found_by_its_ids_its_receipt_and_its_device(
    browser: Client, tenant: Tenant, stranger: NewTenant, endpoint: Endpoint
) -> None:
    receipt = new_id()
    event = Event(
        tenant.pk,
        tenant.slug,
        "callback.processed",
        {},
        timezone.now(),
        receipt_id=receipt,
        subjects=lambda: [Subject("WM-1001")],
    )
    with pipeline() as lane, lane.cursor() as cursor:
        publish(cursor, [event])
    wanted = deliveries(tenant)[-1]
    message = public_id("msg", wanted.message_id)
    names = (message, wanted.public_id, public_id("rcp", receipt), "WM-1001")
    theirs = visitor(stranger.tenant)
    for name in names:
        assert found(browser, f" {name} ") == [wanted], name
        assert found(theirs, name) == [], name
    assert found(browser, "WM-9") == []
    assert len(found(browser, "")) == 3


def test_a_message_shows_its_deliveries_by_the_index_of_each_endpoint(
    browser: Client, tenant: Tenant, stranger: NewTenant, endpoint: Endpoint
) -> None:
    wanted = deliveries(tenant)[-1]
    change = "admin:subscriptions_message_change"
    page = reverse(change, args=[wanted.message_id])
    with CaptureQueriesContext(connection) as captured:
        shown = browser.get(page).content.decode()
    row = reverse("admin:subscriptions_delivery_change", args=[wanted.pk])
    assert row in shown
    # delivery_once begins with tenant and endpoint: without one it is read whole.
    (asked,) = [one["sql"] for one in captured if '."message_id" IN' in one["sql"]]
    assert f"\"endpoint_id\" IN ('{endpoint.pk.hex}'" in asked
    assert visitor(stranger.tenant).get(page).status_code == 404


def test_what_is_undelivered_says_what_to_do(
    browser: Client, tenant: Tenant, endpoint: Endpoint
) -> None:
    given_up(tenant, 1)
    page = browser.get(reverse(UNDELIVERED)).content.decode()
    assert "404: Nothing is at this URL" in page
    assert "An admin paused it" in page
    assert "somebody must act" in page
    for form in ("recover", "discard"):
        assert reverse(f"admin:subscriptions_endpoint_{form}", args=[endpoint.pk]) in (
            page
        )
    home = browser.get(reverse("admin:index")).content.decode()
    assert "1 to be acted on" in home
    assert reverse(UNDELIVERED) in home


def test_when_everything_arrived_the_page_says_so(browser: Client) -> None:
    assert (
        "Everything has arrived" in browser.get(reverse(UNDELIVERED)).content.decode()
    )


def test_what_is_undelivered_is_nobody_elses(
    tenant: Tenant, stranger: NewTenant, endpoint: Endpoint
) -> None:
    given_up(tenant, 2)
    theirs = visitor(stranger.tenant).get(reverse(UNDELIVERED)).content.decode()
    assert "Everything has arrived" in theirs
    auditors = visitor(tenant, Role.AUDITOR).get(reverse(UNDELIVERED))
    assert endpoint.url in auditors.content.decode()
    assert "/recover/" not in auditors.content.decode()
    assert visitor(tenant, Role.CLERK).get(reverse(UNDELIVERED)).status_code == 403


def test_a_delivery_to_a_deleted_endpoint_is_shown_without_buttons(
    browser: Client, tenant: Tenant, endpoint: Endpoint
) -> None:
    given_up(tenant, 2)
    with acting_for(tenant):
        Endpoint.objects.filter(tenant=tenant).update(deleted_at=timezone.now())
    address = reverse(
        "admin:subscriptions_delivery_change", args=[deliveries(tenant)[0].pk]
    )
    shown = browser.get(address).content.decode()
    assert "Given up after" in shown
    assert reverse("admin:subscriptions_endpoint_change", args=[endpoint.pk]) not in (
        shown
    )
    assert "/do/retry/" not in shown


def test_the_list_of_one_endpoint_says_of_which(
    browser: Client, tenant: Tenant, stranger: NewTenant, endpoint: Endpoint
) -> None:
    make_endpoint(tenant, "http://127.0.0.1:9/other")
    publish_to(tenant)
    asked = {"endpoint__id__exact": str(endpoint.pk)}
    reply: Any = browser.get(reverse(LIST), asked)
    change = reverse("admin:subscriptions_endpoint_change", args=[endpoint.pk])
    assert f'href="{change}">{endpoint.url}' in reply.text
    assert {row.endpoint_id for row in reply.context_data["cl"].result_list} == {
        endpoint.pk
    }
    assert endpoint.url not in visitor(stranger.tenant).get(reverse(LIST), asked).text
    odd = browser.get(reverse(LIST), {"endpoint__id__exact": "x"}, follow=True)
    assert odd.status_code == 200


def test_the_list_reads_endpoints_for_its_page_alone(
    browser: Client, endpoint: Endpoint
) -> None:
    with CaptureQueriesContext(connection) as seen:
        reply: Any = browser.get(reverse(LIST), {"status__exact": "pending"})
    shown = reply.context_data["cl"].result_list
    assert [one.endpoint for one in shown] == [endpoint, endpoint]
    (listed,) = [one["sql"] for one in seen if "DESC LIMIT" in one["sql"]]
    assert "JOIN" not in listed
    theirs = [one for one in seen if 'FROM "subscriptions_endpoint"' in one["sql"]]
    assert len(theirs) == 1
