"""Many who publish, claim and record at once, late workers, and wrong clocks."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from subscriptions.models import Delivery, Endpoint
from subscriptions.services.delivering.claims import Claimer, claim
from subscriptions.services.delivering.pacing import Pacing
from subscriptions.services.delivering.recording import Result, record
from subscriptions.tests.delivering import (
    attempts,
    claimed_of,
    deliveries,
    make_endpoint,
    outcome,
    publish_to,
    record_all,
    set_deliveries,
)
from tenants.database import acting_for
from tenants.models import Tenant

URL = "https://subscriber.example/hook"
PRODUCERS = CLAIMERS = 20
EACH = 10


def test_twenty_publish_and_twenty_claim_and_each_message_is_had_once(
    tenant: Tenant,
) -> None:
    for _ in range(4):
        make_endpoint(tenant, URL, max_concurrency=1_000)
    total = PRODUCERS * EACH * 4
    had: list[UUID] = []
    by_worker: Counter[int] = Counter()
    lock = threading.Lock()
    started = threading.Barrier(PRODUCERS + CLAIMERS)
    deadline = time.monotonic() + 60

    def produce() -> None:
        started.wait()
        for _ in range(5):
            publish_to(tenant, EACH // 5)

    def consume(number: int) -> None:
        started.wait()
        while len(had) < total and time.monotonic() < deadline:
            found = claim(4)
            if not found:
                continue
            record_all(found, outcome(204))
            with lock:
                had.extend(one.delivery_id for one in found)
                by_worker[number] += len(found)

    with ThreadPoolExecutor(PRODUCERS + CLAIMERS) as pool:
        running = [pool.submit(produce) for _ in range(PRODUCERS)]
        running += [pool.submit(consume, number) for number in range(CLAIMERS)]
        for one in running:
            one.result()
    assert len(had) == len(set(had)) == total
    with acting_for(tenant):
        assert (
            Delivery.objects.filter(tenant=tenant, status="delivered").count() == total
        )
    assert len(by_worker) == CLAIMERS
    assert min(by_worker.values()) > 0


def test_zombie_is_refused_a_hundred_times_of_a_hundred(
    tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(25):
        make_endpoint(tenant, URL)
    publish_to(tenant, 4)
    zombies = claimed_of(tenant)
    assert len(zombies) == 100
    set_deliveries(tenant, "leased_until = now() - interval '1 s'")
    second = claimed_of(tenant)
    assert len(second) == 100
    record_all(zombies, outcome(204))
    assert {one.status for one in deliveries(tenant)} == {"pending"}
    assert {one.claim_id for one in deliveries(tenant)} == {second[0].claim_id}
    record_all(second, outcome(500))
    settled = {one.pk: one.next_attempt_at for one in deliveries(tenant)}
    record_all(zombies, outcome(204))
    found = deliveries(tenant)
    assert {one.status for one in found} == {"pending"}
    assert {one.pk: one.next_attempt_at for one in found} == settled
    assert caplog.text.count("refused: its lease had ended") == 200
    made = [one for one in attempts(tenant) if one.error != "worker_lost"]
    assert len(made) == 300


@pytest.mark.parametrize("ahead_s", [3_600.0, -3_600.0])
def test_worker_whose_clock_is_an_hour_off_steals_no_lease_and_signs_the_true_time(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    make_endpoint(tenant, URL)
    publish_to(tenant, 1)
    (right,) = claimed_of(tenant)
    real_monotonic, real_time = time.monotonic, time.time
    monkeypatch.setattr(time, "monotonic", lambda: real_monotonic() + ahead_s)
    monkeypatch.setattr(time, "time", lambda: real_time() + ahead_s)
    assert claimed_of(tenant) == []
    publish_to(tenant, 1)
    (other,) = claimed_of(tenant)
    assert other.delivery_id != right.delivery_id
    assert abs(other.now_s() - real_time()) < 5
    record([Result(other, outcome(500))])
    (retried,) = [one for one in deliveries(tenant) if one.pk == other.delivery_id]
    assert retried.next_attempt_at is not None
    assert 3 < retried.next_attempt_at.timestamp() - real_time() < 7
    (attempt,) = attempts(tenant)
    assert abs(attempt.started_at.timestamp() - real_time()) < 5


def test_claim_goes_by_the_look_only_as_long_as_endpoints_may_be_sent_to(
    tenant: Tenant,
) -> None:
    for _ in range(40):
        make_endpoint(tenant, URL)
    publish_to(tenant, 20)
    claimer = Claimer(Pacing())
    first = claimer.claim(64)
    assert len(first) == 64
    with acting_for(tenant):
        endpoints = {one.endpoint_id for one in first}
        keep = endpoints.pop()
        stopped = Endpoint.objects.filter(tenant=tenant).exclude(pk=keep)
        stopped.update(status="paused")
    assert {one.endpoint_id for one in claimer.claim(64)} <= {keep}
