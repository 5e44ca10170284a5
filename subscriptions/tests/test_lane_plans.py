"""Publishers and recorders read the places they need, whatever the planner believes."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

from subscriptions.models import Endpoint
from subscriptions.services.ordering import Turn, release, take_places
from subscriptions.services.orphans import cancel_waiting
from subscriptions.tests.delivering import delivery_of, make_endpoint
from subscriptions.tests.test_ordering import about, tell
from tenants.database import Cursor, join_by_index, pipeline
from tenants.models import Tenant
from tests.plans import analyse, forget_rows

URL = "https://subscriber.example/hook"
#: Places of others.
MANY = 3_000
#: Places that one delivery's end, or one publication, may read.
FEW = 20


@pytest.fixture(params=["as it is", "when it was empty"])
def endpoint(tenant: Tenant, request: pytest.FixtureRequest) -> Endpoint:
    """One message waits at it, about device A; its queue was analysed."""
    endpoint, _ = make_endpoint(tenant, URL, is_ordered=True)
    tell(about(tenant, "A"))
    analyse("subscriptions_laneplace")
    if request.param == "when it was empty":
        forget_rows("subscriptions_laneplace")
    return endpoint


@contextmanager
def crowded(endpoint: Endpoint) -> Generator[Any]:
    """Open a transaction in which many more places are taken; it is undone."""
    with pipeline() as lane, lane.transaction(force_rollback=True):
        lane.execute(
            """INSERT INTO subscriptions_laneplace
            SELECT %s, %s, 'B' || number, 1, gen_random_uuid()
            FROM generate_series(1, %s::int) AS number""",
            [endpoint.tenant_id, endpoint.pk, MANY],
        )
        yield lane.cursor()


def read(cursor: Cursor) -> int:
    """Return the places that this transaction has read."""
    cursor.execute(
        """SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)
        FROM pg_stat_xact_user_tables WHERE relname = 'subscriptions_laneplace'"""
    )
    return int(cursor.fetchone()[0])


def test_a_publisher_reads_few_places_however_many_wait(endpoint: Endpoint) -> None:
    turn = Turn(endpoint.tenant_id, endpoint.pk, "A", uuid4(), uuid4())
    with crowded(endpoint) as cursor:
        before = read(cursor)
        assert take_places(cursor, [turn]).waiting == {turn.delivery_id}
        assert read(cursor) < before + FEW


def test_a_recorder_reads_few_places_however_many_wait(
    tenant: Tenant, endpoint: Endpoint
) -> None:
    first = delivery_of(tenant)
    tell(about(tenant, "A"))
    with crowded(endpoint) as cursor:
        join_by_index(cursor)
        before = read(cursor)
        cursor.execute(
            """UPDATE subscriptions_delivery SET status = 'delivered'
            WHERE tenant_id = %s AND id = %s""",
            [tenant.pk, first.pk],
        )
        assert release(cursor, [(tenant.pk, first.pk)]) == 1
        assert read(cursor) < before + FEW


def test_a_deleted_endpoints_places_are_read_by_its_deliveries(
    tenant: Tenant, endpoint: Endpoint
) -> None:
    count = 200
    tell(*(about(tenant, "A", number=number) for number in range(1, count)))
    analyse("subscriptions_delivery")
    with crowded(endpoint) as cursor:
        join_by_index(cursor)
        before = read(cursor)
        assert cancel_waiting(cursor, tenant.pk, endpoint.pk) == count
        assert read(cursor) <= before + 2 * count
