"""The breaker between workers: it opens on evidence, probes once, and tells of it."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.test import override_settings

from subscriptions.breaking import PATIENCE
from subscriptions.models import Breaker, ConsentStep, Delivery, Endpoint
from subscriptions.services.delivering.claims import Claimed, claim
from subscriptions.services.delivering.sending import deliver
from subscriptions.tests.delivering import (
    claimed_of,
    deliveries,
    make_endpoint,
    outcome,
    publish_to,
    record_all,
    set_deliveries,
    set_endpoint,
)
from subscriptions.tests.receivers import Reply, receiving
from tenants.database import acting_for, pipeline
from tenants.identifiers import new_id
from tenants.models import Mail, Tenant

URL = "https://subscriber.example/hook"
_NOTHING = ["endpoint.test"]


def soon(**ahead: float) -> datetime:
    return datetime.now(tz=UTC) + timedelta(**ahead)


def open_breaker(tenant: Tenant, waiting: int = 20) -> Endpoint:
    """Return an endpoint whose breaker is open and whose probe is due."""
    endpoint, _ = make_endpoint(tenant, URL, event_types=["callback.processed"])
    publish_to(tenant, waiting)
    (first,) = claim(1)
    record_all([first], outcome(500), evidence_s=1.0)
    opened = set_endpoint(endpoint)
    assert opened.breaker == Breaker.OPEN
    assert opened.hold_until is not None
    assert opened.hold_until > opened.created_at
    assert claimed_of(tenant) == []
    return set_endpoint(endpoint, hold_until=soon(seconds=-1))


def told(tenant: Tenant, event_type: str) -> list[dict[str, object]]:
    with acting_for(tenant):
        found = Delivery.objects.filter(tenant=tenant, event_type=event_type)
        return [
            json.loads(bytes(one.message.body))["data"]
            for one in found.select_related("message").order_by("id")
        ]


def mails(tenant: Tenant) -> list[str]:
    with acting_for(tenant):
        found = Mail.objects.filter(tenant=tenant).order_by("id")
        return list(found.values_list("subject", flat=True))


@override_settings(RETRY_SCHEDULE_S=[30.0])
@pytest.mark.parametrize(("status", "least"), [(503, 10), (500, 50)])
def test_receiver_that_fails_is_spared_and_spends_no_more_attempts(
    tenant: Tenant, status: int, least: int
) -> None:
    with receiving(lambda _: Reply(status)) as receiver:
        endpoint, _ = make_endpoint(tenant, receiver.url)
        publish_to(tenant, 80)
        deliver()
        deliver()
        sent = len(receiver.requests)
    assert least <= sent <= least + 8
    opened = set_endpoint(endpoint)
    assert opened.breaker == Breaker.OPEN
    assert opened.hold_until is not None
    assert soon(seconds=20) < opened.hold_until < soon(seconds=31)
    untouched = [one for one in deliveries(tenant) if one.attempt_count == 0]
    assert len(untouched) == 80 - sent


def test_exactly_one_probe_across_workers_that_claim_at_once(tenant: Tenant) -> None:
    endpoint = open_breaker(tenant)
    with ThreadPoolExecutor(8) as workers:
        found = [
            pool.result()
            for pool in [workers.submit(claimed_of, tenant) for _ in range(24)]
        ]
    probes = [one for claims in found for one in claims]
    assert [one.is_probe for one in probes] == [True]
    half_open = set_endpoint(endpoint)
    assert half_open.breaker == Breaker.HALF_OPEN
    assert half_open.hold_until is not None
    assert half_open.hold_until > soon(seconds=30)


def test_probe_that_succeeds_closes_and_tells_that_it_recovered(
    tenant: Tenant,
) -> None:
    make_endpoint(tenant, URL, event_types=["endpoint.*"])
    endpoint = open_breaker(tenant)
    (probe,) = claimed_of(tenant)
    record_all([probe], outcome(204))
    closed = set_endpoint(endpoint)
    assert (closed.breaker, closed.failing_since) == (Breaker.CLOSED, None)
    (event,) = told(tenant, "endpoint.recovered")
    assert event["endpoint"] == endpoint.public_id
    assert event["failing_since"] is not None
    assert (
        len([one for one in claimed_of(tenant) if one.endpoint_id == endpoint.pk]) > 1
    )


def test_probe_that_fails_waits_longer_and_late_results_change_nothing(
    tenant: Tenant,
) -> None:
    endpoint, _ = make_endpoint(tenant, URL)
    publish_to(tenant, 20)
    early = claimed_of(tenant)
    record_all(early[:1], outcome(500), evidence_s=1.0)
    set_endpoint(endpoint, hold_until=soon(seconds=-1))
    (probe,) = claimed_of(tenant)
    record_all([probe], outcome(500))
    waits = set_endpoint(endpoint)
    assert (waits.breaker, waits.breaker_trips) == (Breaker.OPEN, 1)
    assert waits.hold_until is not None
    assert soon(seconds=8) < waits.hold_until < soon(seconds=11)
    record_all(early[1:], outcome(500), evidence_s=2.0)
    after = set_endpoint(endpoint)
    assert (after.breaker_trips, after.hold_until) == (1, waits.hold_until)


def test_probe_of_a_worker_that_died_is_followed_by_another(tenant: Tenant) -> None:
    endpoint = open_breaker(tenant)
    assert len(claimed_of(tenant)) == 1
    assert claimed_of(tenant) == []
    set_endpoint(endpoint, hold_until=soon(seconds=-1))
    set_deliveries(tenant, "leased_until = NULL")
    assert [one.is_probe for one in claimed_of(tenant)] == [True]


def test_warnings_come_once_each_and_success_ends_them(tenant: Tenant) -> None:
    make_endpoint(tenant, URL, event_types=["endpoint.*"])
    endpoint, _ = make_endpoint(tenant, URL, event_types=["callback.processed"])
    for share in (0.4, 0.51, 0.6, 0.71, 0.72, 0.91):
        set_endpoint(
            endpoint, failing_since=soon(seconds=-share * PATIENCE.total_seconds())
        )
        fail_once(tenant, endpoint)
    events = told(tenant, "endpoint.failing")
    assert [one["percent"] for one in events] == [50, 70, 90]
    assert {one["endpoint"] for one in events} == {endpoint.public_id}
    assert mails(tenant) == [f"{URL} keeps failing"] * 3
    publish_to(tenant)
    record_all(mine(tenant, endpoint), outcome(204))
    assert len(told(tenant, "endpoint.recovered")) == 1
    well = set_endpoint(endpoint)
    assert (well.failing_since, well.failing_warned) == (None, 0)


def mine(tenant: Tenant, endpoint: Endpoint) -> list[Claimed]:
    return [one for one in claimed_of(tenant) if one.endpoint_id == endpoint.pk]


def fail_once(tenant: Tenant, endpoint: Endpoint) -> None:
    publish_to(tenant)
    record_all(mine(tenant, endpoint), outcome(500))


def test_one_failure_after_a_long_silence_disables_nothing(tenant: Tenant) -> None:
    make_endpoint(tenant, URL, event_types=["endpoint.*"])
    endpoint, _ = make_endpoint(
        tenant,
        URL,
        event_types=["callback.processed"],
        failing_since=soon(days=-30),
        failing_warned=50,
    )
    publish_to(tenant)
    (sent,) = mine(tenant, endpoint)
    with pipeline() as lane:
        lane.execute(
            """INSERT INTO subscriptions_attempt (tenant_id, id, delivery_id, number,
                endpoint_id, started_at, duration_ms)
            VALUES (%s, %s, %s, 1, %s, now() - interval '27 d', 5)""",
            [tenant.pk, new_id(), new_id(), endpoint.pk],
        )
    record_all([sent], outcome(500))
    found = set_endpoint(endpoint)
    assert (found.status, found.failing_warned) == ("active", 0)
    assert found.failing_since is not None
    assert found.failing_since > soon(minutes=-5)
    assert told(tenant, "endpoint.recovered") == []
    assert mails(tenant) == []


def test_two_endpoints_are_warned_of_apart(tenant: Tenant) -> None:
    watcher, _ = make_endpoint(tenant, URL, event_types=["endpoint.*"])
    since = soon(days=-3)
    bad, _ = make_endpoint(tenant, URL, failing_since=since)
    fine, _ = make_endpoint(tenant, URL)
    publish_to(tenant)
    for one in claimed_of(tenant):
        if one.endpoint_id != watcher.pk:
            is_bad = one.endpoint_id == bad.pk
            record_all([one], outcome(500 if is_bad else 204))
    assert [one["endpoint"] for one in told_to(tenant, watcher)] == [bad.public_id]
    assert set_endpoint(fine).failing_since is None


def told_to(tenant: Tenant, endpoint: Endpoint) -> list[dict[str, object]]:
    with acting_for(tenant):
        found = Delivery.objects.filter(tenant=tenant, endpoint=endpoint)
        bodies = [json.loads(bytes(one.message.body)) for one in found]
    return [one["data"] for one in bodies if one["type"] == "endpoint.failing"]


def test_gone_withdraws_the_consent_and_mails_the_admins(tenant: Tenant) -> None:
    endpoint, _ = make_endpoint(tenant, URL, consented_at=soon(days=-1))
    publish_to(tenant)
    record_all(claimed_of(tenant), outcome(410))
    gone = set_endpoint(endpoint)
    assert (gone.status, gone.consented_at) == ("disabled", None)
    with acting_for(tenant):
        (step,) = ConsentStep.objects.filter(endpoint=endpoint)
    assert (step.step, step.status_code) == ("withdrawn", 410)
    assert mails(tenant) == [f"{URL} was disabled"]
    assert deliveries(tenant)[0].status == "pending"


def test_what_comes_for_a_deleted_endpoint_is_told_to_nobody(tenant: Tenant) -> None:
    make_endpoint(tenant, URL, event_types=["endpoint.*"])
    endpoint, _ = make_endpoint(tenant, URL, event_types=["callback.processed"])
    publish_to(tenant)
    sent = mine(tenant, endpoint)
    set_endpoint(endpoint, deleted_at=soon(seconds=-1))
    record_all(sent, outcome(410))
    assert set_endpoint(endpoint).status == "active"
    assert told(tenant, "endpoint.disabled") == []
    assert mails(tenant) == []


def test_gone_leaves_the_proposed_url_to_be_asked(tenant: Tenant) -> None:
    endpoint, _ = make_endpoint(
        tenant,
        URL,
        proposed_url=f"{URL}/new",
        allowed_rate_per_min=90,
        rate_used_until=soon(minutes=-1),
    )
    publish_to(tenant)
    record_all(claimed_of(tenant), outcome(410))
    gone = set_endpoint(endpoint)
    assert (gone.status, gone.url, gone.proposed_url) == ("disabled", f"{URL}/new", "")
    assert gone.allowed_rate_per_min is None
    with acting_for(tenant):
        (step,) = ConsentStep.objects.filter(endpoint=endpoint)
    assert step.url == URL
    assert mails(tenant) == [f"{URL} was disabled"]


@pytest.mark.parametrize(("status", "fails"), [(204, False), (500, True)])
def test_patience_ends_only_without_a_success(
    tenant: Tenant, status: int, *, fails: bool
) -> None:
    endpoint, _ = make_endpoint(tenant, URL, failing_since=soon(days=-6))
    publish_to(tenant, 2)
    first, second = claimed_of(tenant)
    record_all([first], outcome(status))
    record_all([second], outcome(500))
    assert (set_endpoint(endpoint).status == "disabled") is fails
