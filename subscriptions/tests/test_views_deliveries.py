"""What the API shows of a delivery's attempts."""

from subscriptions.services.delivering.sending import deliver
from subscriptions.tests.calling import Caller
from subscriptions.tests.delivering import delivery_of, make_endpoint, publish_to
from subscriptions.tests.receivers import Received, Reply, receiving
from tenants.database import pipeline
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
