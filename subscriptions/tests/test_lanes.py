"""Alarms overtake, late retries keep to their share, nobody waits for who hangs."""

import threading
import time
from typing import Any
from uuid import uuid4

import pytest
from django.test import override_settings

from subscriptions.models import Lane
from subscriptions.services.delivering import recording
from subscriptions.services.delivering.claims import (
    _TAKE,
    LOST_SPARED,
    Claimed,
    claim,
)
from subscriptions.services.delivering.pacing import LATE_SLOTS
from subscriptions.services.delivering.recording import Result
from subscriptions.services.delivering.sending import deliver
from subscriptions.tests.delivering import (
    claimed_of,
    deliveries,
    make_endpoint,
    outcome,
    publish_to,
    record_all,
    set_deliveries,
)
from subscriptions.tests.receivers import Received, Reply, receiving
from tenants.database import Cursor, join_by_index, pipeline
from tenants.models import Tenant
from tenants.services import NewTenant

URL = "https://subscriber.example/hook"


def set_lane(tenant: Tenant, lane: Lane, *, every: int = 1) -> None:
    """Move every n-th of the tenant's deliveries into the lane."""
    with pipeline() as connection:
        connection.execute(
            """UPDATE subscriptions_delivery d SET lane = %s::int
            FROM (SELECT id, row_number() OVER (ORDER BY id) AS nth
                FROM subscriptions_delivery WHERE tenant_id = %s) numbered
            WHERE d.tenant_id = %s AND d.id = numbered.id AND nth %% %s = 0""",
            [lane.value, tenant.pk, tenant.pk, every],
        )


def test_alarm_overtakes_what_waits_at_its_endpoint(tenant: Tenant) -> None:
    make_endpoint(tenant, URL)
    publish_to(tenant, 50)
    set_lane(tenant, Lane.URGENT, every=50)
    (first,) = claim(1)
    assert first.lane == Lane.URGENT


def test_alarm_overtakes_what_waits_at_all_others(
    tenant: Tenant, stranger: NewTenant
) -> None:
    for _ in range(10):
        make_endpoint(tenant, URL)
    publish_to(tenant, 20)
    make_endpoint(stranger.tenant, URL)
    publish_to(stranger.tenant)
    set_lane(stranger.tenant, Lane.URGENT)
    (first,) = claim(1)
    assert first.tenant_id == stranger.tenant.pk


def test_late_retries_have_a_quarter_while_others_wait(tenant: Tenant) -> None:
    for _ in range(40):
        make_endpoint(tenant, URL)
    publish_to(tenant, 30)
    set_lane(tenant, Lane.LATE, every=2)
    claims = claim(100)
    late = [one for one in claims if one.is_late]
    assert len(claims) - len(late) == 100
    assert 0 < len(late) <= 25


@pytest.mark.parametrize("lanes", ["{0,1}", "{2}", "{0,1,2}"])
def test_claim_sorts_no_queue_however_long_it_is(tenant: Tenant, lanes: str) -> None:
    endpoint, _ = make_endpoint(tenant, URL)
    publish_to(tenant)
    turn = [[tenant.pk], [endpoint.pk], [8]]
    values = [*turn, lanes, 8, uuid4(), 60, LOST_SPARED]
    with pipeline() as connection, connection.cursor() as cursor:
        join_by_index(cursor)
        rows = cursor.execute(f"EXPLAIN {_TAKE}", values).fetchall()
    plan = "\n".join(row[0] for row in rows)
    assert "Index Scan using delivery_due" in plan
    assert "Index Scan using subscriptions_endpoint_pkey" in plan
    assert "(lane = lanes.lane) AND (next_attempt_at <= now())" in plan
    # The turns, and nothing else.
    assert plan.count("Sort Key") == plan.count("Sort Key: turn.nth") <= 1
    assert "Tid Scan" in plan


class Spy:
    """A cursor that keeps what it is asked."""

    def __init__(self, cursor: Cursor) -> None:
        self.asked: list[tuple[str, Any]] = []
        self._cursor = cursor

    def execute(self, query: str, params: Any = None) -> Any:
        self.asked.append((query, params))
        return self._cursor.execute(query, params)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


def test_results_are_written_by_a_whole_key_however_small_the_table_was(
    tenant: Tenant,
) -> None:
    make_endpoint(tenant, URL)
    publish_to(tenant)
    results = [Result(one, outcome(204)) for one in claimed_of(tenant)]
    with pipeline() as connection, connection.cursor() as cursor:
        join_by_index(cursor)
        spy = Spy(cursor)
        recording._update_deliveries(spy, results)
        query, values = spy.asked[0]
        rows = cursor.execute(f"EXPLAIN {query}", values).fetchall()
    conditions = [row[0] for row in rows if "Index Cond" in row[0]]
    assert conditions
    assert all("(id = " in one or "(message_id = " in one for one in conditions)


def test_late_retries_have_all_that_others_leave(tenant: Tenant) -> None:
    for _ in range(20):
        make_endpoint(tenant, URL)
    publish_to(tenant, 6)
    set_lane(tenant, Lane.LATE)
    assert len(claimed_of(tenant, 120)) == 120 > LATE_SLOTS


@pytest.mark.parametrize(("step", "lane"), [(0, 1), (1, 1), (2, 2), (5, 2)])
def test_retries_are_late_from_the_third_on(
    tenant: Tenant, step: int, lane: int
) -> None:
    make_endpoint(tenant, URL)
    publish_to(tenant)
    set_deliveries(tenant, f"schedule_step = {step}")
    record_all(claimed_of(tenant), outcome(500))
    assert deliveries(tenant)[0].lane == lane


@pytest.mark.parametrize(("step", "lane"), [(0, 0), (1, 0), (2, 2)])
def test_first_retries_of_an_alarm_stay_urgent(
    tenant: Tenant, step: int, lane: int
) -> None:
    make_endpoint(tenant, URL)
    publish_to(tenant)
    set_deliveries(tenant, f"lane = 0, schedule_step = {step}")
    record_all(claimed_of(tenant), outcome(500))
    assert deliveries(tenant)[0].lane == lane


def test_endpoints_share_a_claim(tenant: Tenant) -> None:
    for _ in range(16):
        make_endpoint(tenant, URL)
    publish_to(tenant, 30)
    counts = per_endpoint(claim(64))
    assert len(counts) >= 8
    assert max(counts.values()) <= 8


def per_endpoint(claims: list[Claimed]) -> dict[object, int]:
    counts: dict[object, int] = {}
    for one in claims:
        counts[one.endpoint_id] = counts.get(one.endpoint_id, 0) + 1
    return counts


@override_settings(DELIVERY_TIMEOUT_S=3)
def test_endpoint_that_hangs_leaves_the_others_alone_beyond_the_turns_end(
    tenant: Tenant, stranger: NewTenant
) -> None:
    release = threading.Event()

    def hang(_: Received) -> Reply:
        release.wait(10)
        return Reply()

    with receiving() as warm, receiving(hang) as slow, receiving() as new:
        make_endpoint(stranger.tenant, warm.url)
        make_endpoint(tenant, slow.url)
        publish_to(tenant, 100)
        worker = threading.Thread(
            target=deliver, kwargs={"turn_s": 0.3, "linger_s": 0.2}
        )
        worker.start()
        publish_to(stranger.tenant)
        warm.wait_for(1)
        slow.wait_for(1)
        time.sleep(1.2)
        assert worker.is_alive()
        # One of which nobody knows yet whether it hangs has its turn, too.
        make_endpoint(stranger.tenant, new.url)
        publish_to(stranger.tenant, 20)
        started = time.monotonic()
        warm.wait_for(21)
        new.wait_for(20)
        took_s = time.monotonic() - started
        release.set()
        worker.join(10)
    assert took_s < 1.0
    assert not worker.is_alive()
