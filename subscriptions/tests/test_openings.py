"""The look for work costs what is due, not what there is."""

import json
from typing import Any

import pytest

from subscriptions.models import Endpoint
from subscriptions.services.delivering import openings
from subscriptions.services.delivering.openings import look
from subscriptions.services.tokens import LIFE_LEAST_S
from subscriptions.tests.delivering import (
    claimed_of,
    deliveries,
    make_endpoint,
    publish_to,
    set_deliveries,
)
from tenants.database import acting_for, join_by_index, pipeline
from tenants.models import Tenant

URL = "https://subscriber.example/hook"
#: Pages of 8 KiB that a look may touch beyond what it did before, and half of that: an
#: index that has grown by a level costs a page more for each endpoint that waits.
FEW = 30


def pages() -> int:
    """Return the pages that a look touches, when others have looked before."""
    with pipeline() as lane, lane.cursor() as cursor:
        join_by_index(cursor)
        look(cursor)
        cursor.execute(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {openings._LOOK}",
            [LIFE_LEAST_S, openings.LOOK_LIMIT],
        )
        row = cursor.fetchone()
    assert row is not None
    found: Any = row[0] if isinstance(row[0], list) else json.loads(row[0])
    return int(found[0]["Plan"]["Shared Hit Blocks"])


def test_idle_endpoints_cost_nothing(tenant: Tenant) -> None:
    make_endpoint(tenant, URL, event_types=["callback.processed"])
    publish_to(tenant, 3)
    before = pages()
    with acting_for(tenant):
        Endpoint.objects.bulk_create(
            Endpoint(tenant=tenant, url=URL, status="active", event_types=["x"])
            for _ in range(1_500)
        )
    assert pages() < 1.5 * before + FEW
    assert len(claimed_of(tenant)) == 3


def test_what_is_due_later_costs_nothing(tenant: Tenant) -> None:
    make_endpoint(tenant, URL)
    publish_to(tenant, 2)
    before = pages()
    set_deliveries(tenant, "next_attempt_at = next_attempt_at - interval '1 min'")
    publish_to(tenant, 2_000)
    with pipeline() as lane:
        lane.execute(
            """UPDATE subscriptions_delivery
            SET next_attempt_at = now() + interval '1 h'
            WHERE tenant_id = %s AND next_attempt_at > now() - interval '30 s'""",
            [tenant.pk],
        )
    pages()
    assert pages() < 1.5 * before + FEW
    assert len(claimed_of(tenant)) == 2


def test_endpoints_whose_messages_are_due_later_cost_a_step_of_the_walk(
    tenant: Tenant,
) -> None:
    before = pages()
    count = 300
    with acting_for(tenant):
        Endpoint.objects.bulk_create(
            Endpoint(tenant=tenant, url=URL, status="active", event_types=["*"])
            for _ in range(count)
        )
    publish_to(tenant)
    set_deliveries(tenant, "next_attempt_at = now() + interval '1 h'")
    pages()
    # Down the index, and the row. Its endpoint and other lanes would be ten more.
    assert pages() < before + 6 * count + FEW
    assert claimed_of(tenant) == []


@pytest.mark.parametrize(
    ("due", "told"), [({0, 1}, (True, False, True)), ({2}, (False, True, False))]
)
def test_each_lane_that_has_something_due_is_told_of(
    tenant: Tenant, due: set[int], told: tuple[bool, bool, bool]
) -> None:
    endpoint, _ = make_endpoint(tenant, URL, batch_size=50, batch_wait_s=60)
    publish_to(tenant, 3)
    with pipeline() as lane, lane.cursor() as cursor:
        for number, delivery in enumerate(deliveries(tenant)):
            cursor.execute(
                """UPDATE subscriptions_delivery SET lane = %s::int,
                    next_attempt_at = now() + %s * interval '1 h'
                WHERE tenant_id = %s AND id = %s""",
                [number, 0 if number in due else 1, tenant.pk, delivery.pk],
            )
        join_by_index(cursor)
        (found,) = [one for one in look(cursor) if one.endpoint_id == endpoint.pk]
    assert (found.has_urgent, found.has_late, found.is_ripe) == told
