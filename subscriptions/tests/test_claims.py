"""Leases, fencing and fairness, with workers that die, come late or compete."""

import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.test import override_settings

from subscriptions.http import Outcome, send_all
from subscriptions.models import Endpoint
from subscriptions.services.deliveries import retry_delivery
from subscriptions.services.delivering.claims import LOST_SPARED, Claimed, claim
from subscriptions.services.delivering.pacing import FIRST_LIMIT
from subscriptions.services.delivering.parcels import single
from subscriptions.services.delivering.recording import Result, record
from subscriptions.services.delivering.sending import deliver
from subscriptions.tests.delivering import (
    attempts,
    deliver_until,
    deliveries,
    delivery_of,
    due_in_s,
    make_endpoint,
    publish_to,
    set_deliveries,
)
from subscriptions.tests.receivers import Received, Receiver, Reply, receiving
from tenants.actors import Actor
from tenants.database import acting_for, pipeline
from tenants.models import Tenant
from tenants.services import NewTenant


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
        (1, "worker_lost"),
        (1, ""),
        (2, "http_error"),
    ]
    assert f"Late result of delivery {delivery.public_id} refused" in caplog.text


def outcome_of_success(receiver: Receiver, claimed: Claimed) -> Outcome:
    """Really send the zombie's request, to a receiver that agrees by now."""
    receiver.behave = lambda _: Reply()
    (outcome,) = send_all([single(claimed).request()])
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
                "UPDATE subscriptions_delivery SET leased_until = now() "
                "WHERE tenant_id = %s",
                [tenant.pk],
            )
        deliver()
        assert len(receiver.requests) == 1
    delivery = delivery_of(tenant)
    assert (delivery.status, delivery.attempt_count) == ("delivered", 2)


def lose(tenant: Tenant, times: int) -> None:
    """Claim the delivery, so often, as workers do that end before an answer comes."""
    with override_settings(DELIVERY_LEASE_S=0):
        for _ in range(times):
            assert [one.tenant_id for one in claim(100)].count(tenant.pk) == 1


def test_attempt_lost_with_its_worker_is_told_and_spends_no_step(
    tenant: Tenant,
) -> None:
    with receiving() as receiver:
        make_endpoint(tenant, receiver.url)
        publish_to(tenant)
        lose(tenant, 3)
        deliver()
    delivery = delivery_of(tenant)
    assert (delivery.status, delivery.attempt_count) == ("delivered", 4)
    assert delivery.schedule_step == 1
    assert [(one.number, one.error) for one in attempts(tenant)] == [
        (1, "worker_lost"),
        (2, "worker_lost"),
        (3, "worker_lost"),
        (4, ""),
    ]


def test_message_that_loses_worker_after_worker_comes_to_an_end(tenant: Tenant) -> None:
    make_endpoint(tenant, "http://127.0.0.1:1/")
    publish_to(tenant)
    lose(tenant, 1 + LOST_SPARED + 2)
    assert delivery_of(tenant).schedule_step == 3


def test_attempt_lost_after_a_retry_by_hand_spends_no_step_either(
    tenant: Tenant, actor: Actor
) -> None:
    with receiving() as receiver:
        make_endpoint(tenant, receiver.url)
        publish_to(tenant)
        set_deliveries(
            tenant, "status = 'dead', attempt_count = 10, schedule_step = 10"
        )
        retry(tenant, actor)
        lose(tenant, 3)
        deliver()
    delivery = delivery_of(tenant)
    assert (delivery.status, delivery.attempt_count) == ("delivered", 14)
    assert delivery.schedule_step == 1


def retry(tenant: Tenant, actor: Actor) -> None:
    with acting_for(tenant):
        retry_delivery(
            tenant=tenant,
            actor=actor,
            delivery=delivery_of(tenant),
            now=datetime.now(tz=UTC),
        )


@override_settings(RETRY_SCHEDULE_S=[300.0, 1800.0])
def test_attempt_that_was_lost_before_a_retry_by_hand_is_told(
    tenant: Tenant, actor: Actor
) -> None:
    with receiving(lambda _: Reply(500)) as receiver:
        make_endpoint(tenant, receiver.url)
        publish_to(tenant)
        lose(tenant, 1)
        retry(tenant, actor)
        deliver()
        assert 300 <= due_in_s(delivery_of(tenant)) <= 330
    assert [(one.number, one.error) for one in attempts(tenant)] == [
        (1, "worker_lost"),
        (2, "http_error"),
    ]


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
    assert held <= FIRST_LIMIT


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


WORKER = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
import django
django.setup()
from subscriptions.services.delivering.sending import deliver
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
