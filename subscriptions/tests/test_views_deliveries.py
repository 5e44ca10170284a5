"""What the API shows of a delivery's attempts."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from subscriptions.services.delivering.sending import deliver
from subscriptions.tests.calling import Caller
from subscriptions.tests.delivering import delivery_of, make_endpoint, publish_to
from subscriptions.tests.history import write_history
from subscriptions.tests.receivers import Received, Reply, receiving
from tenants.database import acting_for, join_by_index, pipeline
from tenants.models import Tenant
from tenants.services import NewTenant

SECRET = "s3cr3t-value"  # noqa: S105 (nobody's)


def repeating(received: Received) -> Reply:
    return Reply(401, b"not " + received.headers["x-api-key"].encode())


def test_what_a_receiver_repeats_is_masked_after_a_change_too(
    tenant: Tenant, new_tenant: NewTenant
) -> None:
    owner = Caller(new_tenant.api_key)
    with receiving(repeating) as receiver:
        endpoint, _ = make_endpoint(tenant, receiver.url)
        path = f"/endpoints/{endpoint.public_id}/"
        owner.ask("PATCH", path, {"headers": {"X-Api-Key": SECRET}})
        delivery = owner.post(f"{path}test/").json()
        deliver()
    owner.ask("PATCH", path, {"headers": None})
    reply = owner.get(f"/deliveries/{delivery['id']}/")
    (attempt,) = reply.json()["attempts"]
    assert attempt["response_excerpt"] == attempt["response"]["excerpt"] == "not •••"
    assert SECRET not in reply.content.decode()


def test_the_newest_hundred_attempts_are_shown(
    tenant: Tenant, new_tenant: NewTenant, stranger: NewTenant
) -> None:
    make_endpoint(tenant, "http://127.0.0.1:9/hook", status="paused")
    publish_to(tenant)
    delivery = delivery_of(tenant)
    with pipeline() as lane:
        lane.execute(
            """INSERT INTO subscriptions_attempt
                (tenant_id, id, delivery_id, number, started_at, duration_ms)
            SELECT %s, gen_random_uuid(), %s, n, now() + n * interval '1 s', 1
            FROM generate_series(1, 102) AS n""",
            [tenant.pk, delivery.pk],
        )
    path = f"/deliveries/{delivery.public_id}/"
    shown = Caller(new_tenant.api_key).get(path).json()["attempts"]
    assert [one["number"] for one in shown] == list(range(3, 103))
    assert Caller(stranger.api_key).get(path).status_code == 404


def test_what_is_older_than_asked_for_is_not_read(
    tenant: Tenant, new_tenant: NewTenant
) -> None:
    endpoint, _ = make_endpoint(tenant, "http://127.0.0.1:9/hook", status="paused")
    now = datetime.now(tz=UTC)
    write_history(endpoint, now - timedelta(days=9), count=200)
    publish_to(tenant, 2)
    asked = quote((now - timedelta(hours=1)).isoformat())
    for path in ("deliveries", "messages"):
        with CaptureQueriesContext(connection) as seen:
            reply = Caller(new_tenant.api_key).get(f"/{path}/?since={asked}")
        assert len(reply.json()["results"]) == 2
        (listed,) = [one["sql"] for one in seen if "DESC LIMIT" in one["sql"]]
        with acting_for(tenant), connection.cursor() as cursor:
            join_by_index(cursor)
            cursor.execute(f"EXPLAIN (ANALYZE) {listed}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert "id >=" in plan
        assert "Rows Removed by Filter" not in plan


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"])
def test_any_moment_before_the_first_is_one(
    tenant: Tenant, new_tenant: NewTenant, since: str
) -> None:
    make_endpoint(tenant, "http://127.0.0.1:9/hook", status="paused")
    publish_to(tenant)
    found = Caller(new_tenant.api_key).get(f"/deliveries/?since={since}").json()
    assert len(found["results"]) == 1
