"""Delivering to real receivers: what arrives, what is retried, what is given up."""

import json
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from django.conf import settings
from django.test import override_settings
from gidgethub.sansio import validate_event
from standardwebhooks.webhooks import Webhook

from subscriptions.models import Delivery, Endpoint, EndpointSecret
from subscriptions.services.delivering.sending import deliver
from subscriptions.tests.delivering import (
    add_secret,
    answering,
    attempts,
    deliver_until,
    deliveries,
    delivery_of,
    due_in_s,
    make_endpoint,
    publish_to,
)
from subscriptions.tests.receivers import Received, Reply, receiving
from tenants.database import acting_for
from tenants.models import AuditEntry, Tenant


def test_others_verifiers_accept_what_arrives(tenant: Tenant) -> None:
    with receiving() as receiver:
        _, secret = make_endpoint(tenant, receiver.url)
        publish_to(tenant)
        assert deliver() is False
    (received,) = receiver.requests
    data = Webhook(secret).verify(received.body, received.headers)
    validate_event(
        received.body,
        signature=received.headers["x-hub-signature-256"],
        secret=secret,
    )
    assert data["id"] == received.headers["webhook-id"]
    assert data["data"] == {"number": 0, "note": "é & ü"}
    assert received.headers["content-type"] == "application/json"
    assert received.headers["webhook-request-origin"] == "127.0.0.1"
    assert received.headers["user-agent"] == f"Gridhook/{settings.VERSION}"


def test_success_is_written_down(tenant: Tenant) -> None:
    with receiving(lambda _: Reply(201, b"thanks")) as receiver:
        make_endpoint(tenant, receiver.url)
        publish_to(tenant)
        deliver()
    delivery = delivery_of(tenant)
    assert (delivery.status, delivery.attempt_count) == ("delivered", 1)
    assert delivery.finished_at is not None
    assert delivery.claim_id is None
    (attempt,) = attempts(tenant)
    assert (attempt.number, attempt.status_code, attempt.error) == (1, 201, "")
    assert bytes(attempt.response_excerpt) == b"thanks"
    assert attempt.address == "127.0.0.1"
    assert delivery.created_at <= attempt.started_at <= delivery.finished_at


@override_settings(RETRY_SCHEDULE_S=[0.05] * 12)
def test_flaky_receiver_has_every_message_once_after_retries(tenant: Tenant) -> None:
    tries: Counter[str] = Counter()
    lock = threading.Lock()
    done: list[str] = []

    def behave(received: Received) -> Reply:
        message = received.headers["webhook-id"]
        with lock:
            tries[message] += 1
            if (len(done) + sum(tries.values())) % 3 == 0:
                return Reply(500)
            done.append(message)
        return Reply()

    with receiving(behave) as receiver:
        _, secret = make_endpoint(tenant, receiver.url)
        publish_to(tenant, 60)
        deliver_until(tenant, "delivered")
    assert len(done) == len(set(done)) == 60
    assert sum(tries.values()) > 60
    assert sum(row.attempt_count for row in deliveries(tenant)) == sum(tries.values())
    for received in receiver.requests:
        Webhook(secret).verify(received.body, received.headers)


@override_settings(RETRY_SCHEDULE_S=[1.0, 1.0])
def test_retry_has_the_same_id_and_body_and_a_new_timestamp(tenant: Tenant) -> None:
    with receiving(answering(Reply(500), Reply())) as receiver:
        make_endpoint(tenant, receiver.url)
        publish_to(tenant)
        deliver_until(tenant, "delivered")
    first, second = receiver.requests
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    stamps = [int(one.headers["webhook-timestamp"]) for one in (first, second)]
    assert 1 <= stamps[1] - stamps[0] <= 5
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


@override_settings(RETRY_SCHEDULE_S=[0.02, 0.02])
def test_message_is_dead_when_the_schedule_is_used_up(tenant: Tenant) -> None:
    with receiving(lambda _: Reply(500, b"oops")) as receiver:
        make_endpoint(tenant, receiver.url)
        publish_to(tenant)
        deliver_until(tenant, "dead")
        deliver()
    assert len(receiver.requests) == 3
    delivery = delivery_of(tenant)
    assert (delivery.attempt_count, delivery.last_status_code) == (3, 500)
    assert delivery.last_error == "http_error"
    assert delivery.finished_at is not None
    assert [attempt.number for attempt in attempts(tenant)] == [1, 2, 3]
    assert attempts(tenant)[0].error_detail == "The server answered 500."


@override_settings(RETRY_SCHEDULE_S=[])
def test_empty_schedule_is_one_attempt(tenant: Tenant) -> None:
    with receiving(lambda _: Reply(500)) as receiver:
        make_endpoint(tenant, receiver.url)
        publish_to(tenant)
        deliver()
        deliver()
    assert len(receiver.requests) == 1
    assert delivery_of(tenant).status == "dead"


def test_first_retry_is_due_after_the_first_pause(tenant: Tenant) -> None:
    with receiving(lambda _: Reply(500)) as receiver:
        make_endpoint(tenant, receiver.url)
        publish_to(tenant)
        deliver()
    assert delivery_of(tenant).status == "pending"
    assert 4 < due_in_s(delivery_of(tenant)) <= 5.5


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_delays_the_retry(tenant: Tenant, status: int) -> None:
    with receiving(lambda _: Reply(status, b"", {"Retry-After": "120"})) as receiver:
        make_endpoint(tenant, receiver.url)
        publish_to(tenant)
        deliver()
    assert 110 < due_in_s(delivery_of(tenant)) <= 120


def test_retry_after_may_be_a_date(tenant: Tenant) -> None:
    until = format_datetime(datetime.now(tz=UTC) + timedelta(hours=1), usegmt=True)
    with receiving(lambda _: Reply(503, b"", {"Retry-After": until})) as receiver:
        make_endpoint(tenant, receiver.url)
        publish_to(tenant)
        deliver()
    assert 3_500 < due_in_s(delivery_of(tenant)) <= 3_600


@override_settings(RETRY_SCHEDULE_S=[300.0])
@pytest.mark.parametrize(("status", "header"), [(503, "1"), (500, "9999")])
def test_retry_after_never_hastens_and_counts_on_429_and_503_alone(
    tenant: Tenant, status: int, header: str
) -> None:
    with receiving(lambda _: Reply(status, b"", {"Retry-After": header})) as receiver:
        make_endpoint(tenant, receiver.url)
        publish_to(tenant)
        deliver()
    assert 290 < due_in_s(delivery_of(tenant)) <= 330


def test_410_disables_the_endpoint_and_keeps_its_messages(tenant: Tenant) -> None:
    with receiving() as other, receiving(lambda _: Reply(410)) as receiver:
        make_endpoint(tenant, other.url, event_types=["endpoint.disabled"])
        endpoint, _ = make_endpoint(
            tenant,
            receiver.url,
            event_types=["callback.processed", "endpoint.disabled"],
        )
        publish_to(tenant)
        deliver()
        deliver()
    with acting_for(tenant):
        endpoint.refresh_from_db()
        held = Delivery.objects.get(tenant=tenant, endpoint=endpoint)
        audited = AuditEntry.objects.filter(action="endpoint.disabled")
        assert [entry.subject for entry in audited] == [endpoint.public_id]
    assert (endpoint.status, held.status) == ("disabled", "pending")
    assert "410" in endpoint.status_detail
    assert len(receiver.requests) == 1
    (told,) = other.requests
    assert json.loads(told.body)["data"] == {
        "endpoint": endpoint.public_id,
        "url": endpoint.url,
        "reason": "The server answered 410 (gone).",
    }


def test_endpoint_that_only_fails_for_days_is_disabled(tenant: Tenant) -> None:
    with receiving(lambda _: Reply(500)) as receiver:
        endpoint, _ = make_endpoint(
            tenant,
            receiver.url,
            failing_since=datetime.now(tz=UTC) - timedelta(days=5, minutes=1),
        )
        publish_to(tenant)
        deliver()
    with acting_for(tenant):
        endpoint.refresh_from_db()
    assert endpoint.status == "disabled"
    assert endpoint.status_detail == "Every attempt failed for 5 days."


def test_failing_is_noted_and_a_success_ends_it(tenant: Tenant) -> None:
    with receiving(answering(Reply(500), Reply())) as receiver:
        endpoint, _ = make_endpoint(tenant, receiver.url)
        publish_to(tenant)
        deliver()
        with acting_for(tenant):
            endpoint.refresh_from_db()
        assert endpoint.failing_since is not None
        publish_to(tenant)
        deliver()
    with acting_for(tenant):
        endpoint.refresh_from_db()
    assert endpoint.failing_since is None


@pytest.mark.parametrize("status", ["pending", "paused", "disabled"])
def test_endpoint_that_is_not_active_keeps_its_queue(
    tenant: Tenant, status: str
) -> None:
    with receiving() as receiver:
        endpoint, _ = make_endpoint(tenant, receiver.url, status=status)
        publish_to(tenant, 3)
        deliver()
        assert receiver.requests == []
        assert {row.status for row in deliveries(tenant)} == {"pending"}
        with acting_for(tenant):
            Endpoint.objects.filter(pk=endpoint.pk).update(status="active")
        deliver()
        assert len(receiver.requests) == 3


def test_every_active_secret_signs_and_the_newest_signs_the_hub_header(
    tenant: Tenant,
) -> None:
    soon = datetime.now(tz=UTC) + timedelta(hours=1)
    past = datetime.now(tz=UTC) - timedelta(seconds=1)
    with receiving() as receiver:
        endpoint, newest = make_endpoint(tenant, receiver.url)
        with acting_for(tenant):
            EndpointSecret.objects.filter(endpoint=endpoint).delete()
            ended = add_secret(endpoint, expires_at=past)
            old = add_secret(endpoint, expires_at=soon)
            newest = add_secret(endpoint)
        publish_to(tenant)
        deliver()
    (received,) = receiver.requests
    for secret in (old, newest):
        Webhook(secret).verify(received.body, received.headers)
    assert len(received.headers["webhook-signature"].split(" ")) == 2
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(ended).verify(received.body, received.headers)
    hub = received.headers["x-hub-signature-256"]
    validate_event(received.body, signature=hub, secret=newest)


def test_secret_that_does_not_open_is_a_failed_attempt(tenant: Tenant) -> None:
    with receiving() as receiver:
        endpoint, _ = make_endpoint(tenant, receiver.url)
        with acting_for(tenant):
            EndpointSecret.objects.filter(endpoint=endpoint).update(sealed=b"1:x")
        publish_to(tenant)
        deliver()
    assert receiver.requests == []
    assert delivery_of(tenant).last_error == "secret_unusable"


@override_settings(CALLBACK_ALLOW_CIDRS=[])
def test_name_that_leads_home_is_refused_at_the_dial(tenant: Tenant) -> None:
    with receiving() as receiver:
        url = receiver.url.replace("127.0.0.1", "localhost")
        make_endpoint(tenant, url)
        publish_to(tenant)
        deliver()
    assert receiver.connections == 0
    assert delivery_of(tenant).last_error == "address_not_allowed"
