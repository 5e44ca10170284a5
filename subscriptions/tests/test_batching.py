"""Batches on their way: when one goes, what it carries, and each item's verdict."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import override_settings
from standardwebhooks.webhooks import Webhook

from subscriptions.batches import BATCH_BYTES
from subscriptions.models import Endpoint
from subscriptions.services.delivering.parcels import parcels
from subscriptions.services.delivering.sending import deliver
from subscriptions.tests.delivering import (
    attempts,
    claimed_of,
    deliver_until,
    deliveries,
    make_endpoint,
    publish_to,
    set_deliveries,
    set_endpoint,
)
from subscriptions.tests.receivers import Received, Reply, receiving
from tenants.models import Tenant

URL = "https://subscriber.example/hook"


def batching(tenant: Tenant, url: str = URL, **fields: Any) -> tuple[Endpoint, str]:
    return make_endpoint(tenant, url, **{"batch_size": 5, "batch_wait_s": 60, **fields})


def test_full_batches_go_at_once_and_the_rest_waits(tenant: Tenant) -> None:
    batching(tenant)
    publish_to(tenant, 12)
    claims = claimed_of(tenant)
    assert [len(one.claims) for one in parcels(claims)] == [5, 5]
    assert claimed_of(tenant) == []


def test_batch_goes_when_its_oldest_has_waited(tenant: Tenant) -> None:
    batching(tenant)
    publish_to(tenant, 3)
    assert claimed_of(tenant) == []
    set_deliveries(tenant, "next_attempt_at = now() - interval '61 s'")
    assert [len(one.claims) for one in parcels(claimed_of(tenant))] == [3]


def test_batch_with_an_alarm_goes_at_once(tenant: Tenant) -> None:
    batching(tenant)
    publish_to(tenant, 2)
    set_deliveries(tenant, "lane = 0")
    assert len(claimed_of(tenant)) == 2


def test_batch_is_one_request_of_its_rate(tenant: Tenant) -> None:
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    endpoint, _ = batching(
        tenant, max_rate_per_min=20, rate_used_until=long_ago, max_concurrency=9
    )
    publish_to(tenant, 40)
    assert len(claimed_of(tenant)) == 10
    now = datetime.now(tz=UTC)
    assert set_endpoint(endpoint).rate_used_until > now - timedelta(seconds=5)


def test_large_messages_make_more_requests_and_those_without_room_are_left(
    tenant: Tenant,
) -> None:
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    batching(tenant, max_rate_per_min=20, rate_used_until=long_ago)
    publish_to(tenant, 5, note="x" * (BATCH_BYTES // 2 - 500))
    claims = claimed_of(tenant)
    assert [len(one.claims) for one in parcels(claims)] == [2, 2]
    assert all(len(one.request().body or b"") < 2**20 for one in parcels(claims))
    rows = deliveries(tenant)
    assert [one.attempt_count for one in rows] == [1, 1, 1, 1, 0]
    assert (rows[-1].schedule_step, rows[-1].leased_until) == (0, None)


@override_settings(RETRY_SCHEDULE_S=[0.02, 0.02, 0.02])
def test_only_refused_items_are_sent_again(tenant: Tenant) -> None:
    seen: list[list[str]] = []

    def behave(received: Received) -> Reply:
        ids = [one["id"] for one in json.loads(received.body)]
        seen.append(ids)
        results = [
            {"id": one, "status": 500 if len(seen) == 1 and number < 2 else 200}
            for number, one in enumerate(ids)
        ]
        return Reply(207, json.dumps({"results": results}).encode())

    with receiving(behave) as receiver:
        _, secret = batching(tenant, receiver.url, batch_wait_s=0)
        publish_to(tenant, 5)
        deliver_until(tenant, "delivered")
    first, second = receiver.requests
    assert seen[1] == sorted(seen[0][:2])
    for received in receiver.requests:
        batch = Webhook(secret).verify(received.body, received.headers)
        assert received.headers["webhook-id"].startswith("bat_")
        kind = received.headers["content-type"]
        assert kind == "application/cloudevents-batch+json"
        assert {one["specversion"] for one in batch} == {"1.0"}
    assert first.headers["webhook-id"] != second.headers["webhook-id"]
    assert sorted(one.attempt_count for one in deliveries(tenant)) == [1, 1, 1, 2, 2]
    found = sorted((one.number, one.status_code) for one in attempts(tenant))
    assert found == [(1, 200)] * 3 + [(1, 500)] * 2 + [(2, 200)] * 2
    assert len({one.batch_id for one in attempts(tenant)}) == 2


@pytest.mark.parametrize(("status", "expected"), [(204, "delivered"), (500, "dead")])
@override_settings(RETRY_SCHEDULE_S=[])
def test_answer_without_verdicts_is_all_alike(
    tenant: Tenant, status: int, expected: str
) -> None:
    with receiving(lambda _: Reply(status)) as receiver:
        batching(tenant, receiver.url)
        publish_to(tenant, 5)
        deliver()
    assert len(receiver.requests) == 1
    assert {one.status for one in deliveries(tenant)} == {expected}


@override_settings(RETRY_SCHEDULE_S=[])
def test_item_that_the_answer_does_not_name_was_not_taken(tenant: Tenant) -> None:
    def behave(received: Received) -> Reply:
        first = json.loads(received.body)[0]["id"]
        results = [{"id": first, "status": 200}]
        return Reply(207, json.dumps({"results": results}).encode())

    with receiving(behave) as receiver:
        batching(tenant, receiver.url)
        publish_to(tenant, 5)
        deliver()
    found = sorted(one.status for one in deliveries(tenant))
    assert found == ["dead"] * 4 + ["delivered"]
    details = {one.error_detail for one in attempts(tenant) if one.error}
    assert details == {"The answer does not name the message."}
