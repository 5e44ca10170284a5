"""An ordered endpoint over the wire: each device in order, none for another's sake."""

import json
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.test import override_settings
from standardwebhooks.webhooks import Webhook

from subscriptions.filtering import Subject
from subscriptions.services.publishing import Event, publish
from subscriptions.tests.delivering import (
    claimed_of,
    deliver_until,
    deliveries,
    make_endpoint,
    outcome,
    record_all,
    set_endpoint,
)
from subscriptions.tests.receivers import Received, Reply, receiving
from tenants.database import database_clock, pipeline
from tenants.models import Tenant

URL = "https://subscriber.example/hook"
DEVICES = ("A", "B", "C")
EACH = 8


def tell(tenant: Tenant) -> None:
    with pipeline() as lane, lane.cursor() as cursor:
        row = cursor.execute("SELECT now()").fetchone()
        assert row is not None
        publish(cursor, [about(tenant, device, row[0]) for device in DEVICES * EACH])


def about(tenant: Tenant, device: str, now: datetime) -> Event:
    return Event(
        tenant.pk,
        tenant.slug,
        "callback.processed",
        {},
        now,
        subjects=lambda: [Subject(device)],
    )


class Judge:
    """A receiver that refuses A's second message as long as it is told to."""

    def __init__(self, refuse: Callable[["Judge"], bool]) -> None:
        self.refuse = refuse
        self.taken: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.refused = 0
        self.requests: list[Received] = []

    def __call__(self, received: Received) -> Reply:
        body = json.loads(received.body)
        self.requests.append(received)
        if (body["device"], body["sequence"]) == ("A", 2) and self.refuse(self):
            self.refused += 1
            return Reply(500)
        self.taken[body["device"]].append(body)
        return Reply()

    def sequences(self, device: str) -> list[int]:
        return [body["sequence"] for body in self.taken[device]]


def test_backlog_of_a_lane_is_worked_off_at_the_drain_rate(tenant: Tenant) -> None:
    endpoint, _ = make_endpoint(tenant, URL, is_ordered=True, drain_rate_per_min=40)
    tell(tenant)
    now = database_clock()
    set_endpoint(
        endpoint, draining_since=now, rate_used_until=now - timedelta(minutes=1)
    )
    while claims := claimed_of(tenant):
        record_all(claims, outcome(204))
    # A tenth of the rate may come at once, and little flows in meanwhile.
    assert sum(one.status == "delivered" for one in deliveries(tenant)) <= 8
    assert set_endpoint(endpoint).draining_since is not None


def others_are_on_their_way(judge: Judge) -> bool:
    return any(len(judge.taken[device]) < EACH for device in "BC")


@override_settings(RETRY_SCHEDULE_S=(0.02,) * 500)
def test_device_that_fails_waits_alone_and_all_arrive_in_order(tenant: Tenant) -> None:
    # It takes A's second message only when B and C have come to their end: if they
    # waited for A, none of them ever would.
    judge = Judge(others_are_on_their_way)
    with receiving(judge) as receiver:
        _, secret = make_endpoint(tenant, receiver.url, is_ordered=True)
        tell(tenant)
        deliver_until(tenant, "delivered")
    assert judge.refused >= 1
    for device in DEVICES:
        assert judge.sequences(device) == list(range(1, EACH + 1))
        ids = [None, *(body["id"] for body in judge.taken[device])]
        assert [one["previous_id"] for one in judge.taken[device]] == ids[:-1]
    for request in judge.requests:
        Webhook(secret).verify(request.body, request.headers)


@override_settings(RETRY_SCHEDULE_S=(0.05,))
def test_message_that_is_given_up_leaves_a_gap_that_shows(tenant: Tenant) -> None:
    judge = Judge(lambda _: True)
    with receiving(judge) as receiver:
        make_endpoint(tenant, receiver.url, is_ordered=True)
        tell(tenant)
        deliver_until(tenant, "delivered", "dead")
    assert judge.sequences("A") == [1, 3, 4, 5, 6, 7, 8]
    (dead,) = [row for row in deliveries(tenant) if row.status == "dead"]
    after = judge.taken["A"][1]
    assert after["previous_id"] == f"msg_{dead.message_id.hex}"
    assert after["previous_id"] not in {body["id"] for body in judge.taken["A"]}
