"""Delivering to real receivers: what arrives, what is retried, what is given up."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings
from gidgethub.sansio import validate_event
from standardwebhooks.webhooks import Webhook

from subscriptions.http import Outcome, send_all
from subscriptions.models import Attempt, Delivery, Endpoint, EndpointSecret
from subscriptions.services.claims import ENDPOINT_LIMIT, Claimed, claim, secret_context
from subscriptions.services.publishing import Event, publish
from subscriptions.services.recording import Result, record
from subscriptions.services.sending import deliver, request_of
from subscriptions.tests.receivers import Received, Receiver, Reply, receiving
from tenants.database import acting_for, pipeline
from tenants.models import AuditEntry, Tenant
from tenants.services import NewTenant
from tenants.signing import new_secret
from tenants.vault import seal


@pytest.fixture(autouse=True)
def _quiet_afterwards(tenant: Tenant, stranger: NewTenant) -> Generator[None]:
    """Pause the tenants' endpoints, so that the next test's worker has none of them."""
    yield
    for one in (tenant, stranger.tenant):
        with acting_for(one):
            Endpoint.objects.filter(tenant=one).update(status="paused")


def add_secret(endpoint: Endpoint, expires_at: datetime | None = None) -> str:
    secret = new_secret()
    context = secret_context(endpoint.tenant_id, endpoint.pk)
    EndpointSecret.objects.create(
        tenant=endpoint.tenant,
        endpoint=endpoint,
        sealed=seal(secret.encode(), context=context),
        expires_at=expires_at,
    )
    return secret


def make_endpoint(tenant: Tenant, url: str, **fields: Any) -> tuple[Endpoint, str]:
    with acting_for(tenant):
        endpoint = Endpoint.objects.create(
            tenant=tenant,
            url=url,
            **{
                "event_types": ["*"],
                "status": "active",
                "consent_due_at": None,
                **fields,
            },
        )
        return endpoint, add_secret(endpoint)


def publish_to(tenant: Tenant, count: int = 1) -> None:
    events = [
        Event(
            tenant.pk,
            tenant.slug,
            "callback.processed",
            {"number": number, "note": "é & ü"},
            datetime.now(tz=UTC),
        )
        for number in range(count)
    ]
    with pipeline() as lane, lane.cursor() as cursor:
        assert publish(cursor, events) >= count


def deliveries(tenant: Tenant) -> list[Delivery]:
    with acting_for(tenant):
        return list(Delivery.objects.filter(tenant=tenant).order_by("id"))


def delivery_of(tenant: Tenant) -> Delivery:
    (delivery,) = deliveries(tenant)
    return delivery


def attempts(tenant: Tenant) -> list[Attempt]:
    with acting_for(tenant):
        return list(Attempt.objects.filter(tenant=tenant).order_by("number", "id"))


def deliver_until(tenant: Tenant, *statuses: str, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while {row.status for row in deliveries(tenant)} - set(statuses):
        assert time.monotonic() < deadline, [row.status for row in deliveries(tenant)]
        deliver()


def due_in_s(delivery: Delivery) -> float:
    with pipeline() as lane:
        row = lane.execute(
            "SELECT extract(epoch FROM %s - now())", [delivery.next_attempt_at]
        ).fetchone()
    assert row is not None
    return float(row[0])


def answering(*replies: Reply) -> Any:
    """Answer the n-th request with the n-th reply, and then with the last."""
    queue = list(replies)

    def behave(_: Received) -> Reply:
        return queue.pop(0) if len(queue) > 1 else queue[0]

    return behave


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
            tenant, receiver.url, event_types=["callback.processed"]
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


def test_late_result_is_refused_and_its_attempt_kept(
    tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving(lambda _: Reply(500)) as receiver:
        make_endpoint(tenant, receiver.url)
        publish_to(tenant)
        with override_settings(DELIVERY_LEASE_S=0):
            (zombie,) = [one for one in claim(100) if one.tenant_id == tenant.pk]
        deliver()
        settled = delivery_of(tenant)
        from_zombie = Result(zombie, outcome_of_success(receiver, zombie))
        record([from_zombie])
    delivery = delivery_of(tenant)
    assert (delivery.status, delivery.attempt_count) == ("pending", 2)
    assert delivery.next_attempt_at == settled.next_attempt_at
    assert [(one.number, one.error) for one in attempts(tenant)] == [
        (1, ""),
        (2, "http_error"),
    ]
    assert f"Late result of delivery {delivery.public_id} refused" in caplog.text


def outcome_of_success(receiver: Receiver, claimed: Claimed) -> Outcome:
    """Really send the zombie's request, to a receiver that agrees by now."""
    receiver.behave = lambda _: Reply()
    (outcome,) = send_all([request_of(claimed)])
    assert outcome.is_success
    return outcome


def test_delivery_under_a_lease_is_not_claimed_again_before_it_ends(
    tenant: Tenant,
) -> None:
    with receiving() as receiver:
        make_endpoint(tenant, receiver.url)
        publish_to(tenant)
        assert [one.tenant_id for one in claim(100)].count(tenant.pk) == 1
        deliver()
        assert receiver.requests == []
        with pipeline() as lane:
            lane.execute(
                "UPDATE subscriptions_delivery SET next_attempt_at = now() "
                "WHERE tenant_id = %s",
                [tenant.pk],
            )
        deliver()
        assert len(receiver.requests) == 1
    delivery = delivery_of(tenant)
    assert (delivery.status, delivery.attempt_count) == ("delivered", 2)


def test_workers_side_by_side_send_each_message_once(tenant: Tenant) -> None:
    with receiving() as receiver:
        make_endpoint(tenant, receiver.url)
        publish_to(tenant, 200)
        workers = [threading.Thread(target=deliver) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(20)
    ids = [one.headers["webhook-id"] for one in receiver.requests]
    assert len(ids) == len(set(ids)) == 200


@override_settings(DELIVERY_TIMEOUT_S=2)
def test_hanging_endpoint_does_not_hold_up_another_tenants(
    tenant: Tenant, stranger: NewTenant
) -> None:
    release = threading.Event()

    def hang(_: Received) -> Reply:
        release.wait(10)
        return Reply()

    with receiving(hang) as slow, receiving() as quick:
        make_endpoint(tenant, slow.url)
        publish_to(tenant, 400)
        worker = threading.Thread(target=deliver, kwargs={"turn_s": 1.5})
        worker.start()
        slow.wait_for(1)
        make_endpoint(stranger.tenant, quick.url)
        started = time.monotonic()
        publish_to(stranger.tenant, 20)
        quick.wait_for(20)
        took_s = time.monotonic() - started
        held = len(slow.requests)
        release.set()
        worker.join(20)
    assert took_s < 1.5
    assert held <= ENDPOINT_LIMIT


def test_granted_rate_is_not_exceeded(tenant: Tenant) -> None:
    with receiving() as receiver:
        endpoint, _ = make_endpoint(tenant, receiver.url, allowed_rate_per_min=20)
        with acting_for(tenant):
            Endpoint.objects.filter(pk=endpoint.pk).update(
                rate_used_until=datetime.now(tz=UTC) - timedelta(hours=1)
            )
        publish_to(tenant, 10)
        deliver()
        deliver()
    assert len(receiver.requests) == 2
    waiting = [row for row in deliveries(tenant) if row.status == "pending"]
    assert {row.attempt_count for row in waiting} == {0}


@override_settings(CALLBACK_ALLOW_CIDRS=[])
def test_name_that_leads_home_is_refused_at_the_dial(tenant: Tenant) -> None:
    with receiving() as receiver:
        url = receiver.url.replace("127.0.0.1", "localhost")
        make_endpoint(tenant, url)
        publish_to(tenant)
        deliver()
    assert receiver.connections == 0
    assert delivery_of(tenant).last_error == "address_not_allowed"


WORKER = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
import django
django.setup()
from subscriptions.services.sending import deliver
deliver()
"""


@pytest.mark.processes
def test_message_of_a_worker_killed_while_sending_goes_out_again(
    tenant: Tenant,
) -> None:
    release = threading.Event()

    def behave(received: Received) -> Reply:
        release.wait(20)
        return Reply()

    with receiving(behave) as receiver:
        make_endpoint(tenant, receiver.url)
        publish_to(tenant)
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            cwd=Path(__file__).resolve().parents[2],
            env={**os.environ, "GRIDHOOK_DELIVERY_LEASE_S": "2"},
        )
        receiver.wait_for(1, timeout_s=20)
        worker.kill()
        assert worker.wait(10) == -9
        release.set()
        assert delivery_of(tenant).status == "pending"
        deliver()
        assert len(receiver.requests) == 1, "the lease was not waited for"
        deliver_until(tenant, "delivered")
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert delivery_of(tenant).attempt_count == 2
