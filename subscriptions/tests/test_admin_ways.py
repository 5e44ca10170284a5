"""What an endpoint's pages lead to: the next step, the way back, who did what."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from subscriptions.admin.endpoints.detail import attempts_chart, latency_chart, tiles
from subscriptions.events import Event
from subscriptions.filtering import Subject
from subscriptions.models import Delivery, Endpoint, EndpointStatus
from subscriptions.queries.health import SLICE_SAMPLE, Slice, health
from subscriptions.services.publishing import publish
from subscriptions.tests.delivering import deliveries, make_endpoint
from subscriptions.tests.history import write_history
from tenants.database import acting_for, pipeline
from tenants.models import Tenant
from tests.visitors import visitor

URL = "http://127.0.0.1:9/hook"
NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)


@pytest.fixture
def browser(tenant: Tenant) -> Client:
    return visitor(tenant)


@pytest.fixture
def endpoint(tenant: Tenant) -> Endpoint:
    return make_endpoint(tenant, URL, status="paused")[0]


def address(name: str, *of: Any, kind: str = "endpoint") -> str:
    return reverse(f"admin:subscriptions_{kind}_{name}", args=of)


def test_a_form_leads_back_to_what_it_is_about(
    browser: Client, endpoint: Endpoint
) -> None:
    back = f'href="{address("change", endpoint.pk)}">Cancel'
    assert back in browser.get(address("window", endpoint.pk)).text
    assert f'href="{address("changelist")}">Cancel' in browser.get(address("add")).text


def test_a_moment_that_is_asked_for_says_in_which_zone(
    browser: Client, tenant: Tenant, endpoint: Endpoint
) -> None:
    form = browser.get(address("window", endpoint.pk)).text
    assert f"In the time of {tenant.timezone}." in form


def test_what_is_offered_to_recover_leaves_nothing_out(
    browser: Client, tenant: Tenant, endpoint: Endpoint
) -> None:
    def offered() -> datetime:
        form: Any = browser.get(address("recover", endpoint.pk))
        since: datetime = form.context_data["form"].initial["since"]
        return since

    now = timezone.now()
    assert now - timedelta(days=8) < offered() < now - timedelta(days=6)
    write_history(endpoint, now - timedelta(days=40))
    write_history(endpoint, now - timedelta(days=1))
    assert now - timedelta(days=40) < offered() < now - timedelta(days=39)


@pytest.mark.parametrize(("status", "words"), [("active", "way"), ("paused", "waits")])
def test_a_test_that_waits_is_not_said_to_be_on_its_way(
    browser: Client, tenant: Tenant, status: str, words: str
) -> None:
    endpoint, _ = make_endpoint(tenant, URL, status=status)
    reply = browser.post(address("do", endpoint.pk, "test"), follow=True)
    (said,) = [str(one) for one in reply.context["messages"]]
    assert words in said


def test_an_endpoints_page_says_who_did_what(
    browser: Client, endpoint: Endpoint
) -> None:
    browser.post(address("do", endpoint.pk, "resume"))
    page = browser.get(address("change", endpoint.pk))
    (deed,) = page.context["deeds"]
    assert (deed["words"], deed["entry"].actor) == (
        "Resumed",
        str(page.context["user"]),
    )
    assert browser.get(deed["href"]).status_code == 200


def test_a_delivery_that_waits_its_turn_leads_to_what_it_waits_for(
    browser: Client, tenant: Tenant
) -> None:
    make_endpoint(tenant, URL, is_ordered=True)
    event = Event(
        tenant.pk,
        tenant.slug,
        "callback.processed",
        {},
        timezone.now(),
        subjects=lambda: [Subject("WM-1")],
    )
    with pipeline() as lane, lane.cursor() as cursor:
        publish(cursor, [event, event, event])
    first, _, last = deliveries(tenant)

    def waited_for(delivery: Delivery) -> list[str]:
        shown = browser.get(address("change", delivery.pk, kind="delivery"))
        return [one["href"] for one in shown.context["waited_for"]]

    assert waited_for(first) == []
    assert waited_for(last) == [address("change", first.pk, kind="delivery")]


@pytest.mark.parametrize(
    ("fields", "value", "note"),
    [
        ({"consented_at": None, "consent_due_at": NOW}, "Asked", "messages wait"),
        ({"consented_at": None, "consent_due_at": None}, "None", "nobody asks"),
        ({"consent_step": 0}, "Granted", "until 24 Nov 09:30"),
        ({"consent_step": 2}, "Granted", "until 24 Nov 09:30, not renewed yet"),
        ({"consent_step": 2, "proposed_url": URL}, "Granted", "until 24 Nov 09:30"),
    ],
)
def test_the_consent_is_seen_at_a_glance(
    tenant: Tenant, endpoint: Endpoint, fields: dict[str, Any], value: str, note: str
) -> None:
    granted = {"consented_at": NOW, "consent_expires_at": NOW, "consent_due_at": NOW}
    one = Endpoint(url=URL, status=EndpointStatus.ACTIVE, **{**granted, **fields})
    with acting_for(tenant), timezone.override(UTC):
        found = tiles(one, health(tenant, endpoint), NOW)
    (tile,) = [one for one in found if one["label"] == "Consent"]
    assert tile["value"] == value
    assert tile["note"].startswith(note)


def test_pictures_count_attempts_while_all_of_them_are_seen() -> None:
    few = Slice(NOW, attempts=4, succeeded=3, p50_ms=20, p95_ms=90)
    none = Slice(NOW + timedelta(minutes=1), 0, 0, None, None)
    full = Slice(NOW, SLICE_SAMPLE, SLICE_SAMPLE // 2, 20, 90)
    counted, shares = attempts_chart([few, none]), attempts_chart([full, none])
    latency = latency_chart([few, none])
    assert counted is not None
    assert shares is not None
    assert latency is not None
    assert [one["data"] for one in counted["datasets"]] == [[3, 0], [1, 0]]
    assert [one["data"] for one in shares["datasets"]] == [[50, 0], [50, 0]]
    assert (counted["unit"], shares["unit"], shares["max"]) == ("attempts", "%", 100)
    assert [one["data"] for one in latency["datasets"]] == [[20, None], [90, None]]
    assert latency_chart([none]) is None
    assert attempts_chart([]) is None


@pytest.mark.parametrize(
    ("name", "sent", "field", "words"),
    [
        (
            "window",
            {"start_at": "2026-11-02T10:00", "end_at": "2026-11-01T10:00"},
            "end_at",
            "It must come after the start",
        ),
        (
            "credentials",
            {"certificate": "x", "key": "y"},
            "certificate",
            "be read as PEM",
        ),
        (
            "credentials",
            {"token_url": "https://login.example/"},
            "token_url",
            "is a text of",
        ),
        (
            "recover",
            {"since": "2020-01-01T10:00", "rate_per_s": 1},
            "since",
            "400 days",
        ),
    ],
)
def test_what_a_service_refuses_is_said_at_the_field_it_means(
    browser: Client, endpoint: Endpoint, name: str, sent: Any, field: str, words: str
) -> None:
    reply = browser.post(address(name, endpoint.pk), sent)
    (said,) = reply.context["form"].errors[field]
    assert words in said
    assert "Nothing is saved" in reply.text
