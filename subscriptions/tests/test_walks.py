"""The whole way of a message through its schedule, and of a flow through a rotation."""

from datetime import UTC, datetime

from django.conf import settings

from subscriptions.models import Endpoint
from subscriptions.services.deliveries import retry_delivery
from subscriptions.services.delivering.sending import deliver
from subscriptions.services.endpoints import rotate_secret
from subscriptions.tests.delivering import (
    answering,
    attempts,
    deliver_until,
    delivery_of,
    due_in_s,
    make_endpoint,
    publish_to,
)
from subscriptions.tests.receivers import Received, Receiver, Reply, receiving
from tenants.actors import Actor
from tenants.database import acting_for, pipeline
from tenants.models import Tenant
from tests.chaos.crowd import Arrival
from tests.delivery_oracle import verifies

SCHEDULE_S = [5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0]
THREE_DAYS_S = 72 * 3600


def make_due(tenant: Tenant) -> None:
    """Move the rows, not the clock: what was to come is now, and nothing is held."""
    with pipeline() as lane:
        lane.execute(
            """UPDATE subscriptions_delivery SET next_attempt_at = now()
            WHERE tenant_id = %s AND status = 'pending'""",
            [tenant.pk],
        )
        lane.execute(
            "UPDATE subscriptions_endpoint SET hold_until = NULL WHERE tenant_id = %s",
            [tenant.pk],
        )


def test_ten_attempts_over_three_days_then_dead_then_delivered_by_hand(
    tenant: Tenant, actor: Actor
) -> None:
    assert settings.RETRY_SCHEDULE_S == SCHEDULE_S
    behave = answering(*[Reply(500)] * 10, Reply())
    waited_s = 0.0
    with receiving(behave) as receiver:
        make_endpoint(tenant, receiver.url)
        publish_to(tenant)
        for pause_s in SCHEDULE_S:
            deliver()
            wait_s = due_in_s(delivery_of(tenant))
            assert pause_s - 2 < wait_s <= pause_s * 1.1
            waited_s += wait_s
            make_due(tenant)
        deliver()
        assert delivery_of(tenant).status == "dead"
        assert waited_s > THREE_DAYS_S
        make_due(tenant)
        deliver()
        assert len(receiver.posts()) == 10
        with acting_for(tenant):
            retry_delivery(
                tenant=tenant,
                actor=actor,
                delivery=delivery_of(tenant),
                now=datetime.now(tz=UTC),
            )
        make_due(tenant)
        deliver_until(tenant, "delivered")
        posts = receiver.posts()
    assert len({(one.headers["webhook-id"], one.body) for one in posts}) == 1
    assert [one.number for one in attempts(tenant)] == list(range(1, 12))


def verified(posts: list[Received], secret: str) -> list[bool]:
    arrivals = [Arrival(one.path, one.headers, one.body, 0.0, 1) for one in posts]
    return [verifies(secret, arrival) for arrival in arrivals]


def sent_now(tenant: Tenant, receiver: Receiver) -> list[Received]:
    before = len(receiver.posts())
    publish_to(tenant, 3)
    deliver_until(tenant, "delivered")
    return receiver.posts()[before:]


def rotated(tenant: Tenant, actor: Actor, endpoint: Endpoint) -> str:
    with acting_for(tenant):
        return rotate_secret(
            tenant=tenant,
            actor=actor,
            endpoint=endpoint,
            now=datetime.now(tz=UTC),
            overlap_s=3600,
        )


def test_each_message_verifies_before_during_and_after_a_rotation(
    tenant: Tenant, actor: Actor
) -> None:
    with receiving() as receiver:
        endpoint, old = make_endpoint(tenant, receiver.url)
        before = sent_now(tenant, receiver)
        new = rotated(tenant, actor, endpoint)
        during = sent_now(tenant, receiver)
        with acting_for(tenant):
            endpoint.secrets.filter(expires_at__isnull=False).update(
                expires_at=datetime.now(tz=UTC)
            )
        after = sent_now(tenant, receiver)
    assert verified(before, old) == [True] * 3
    assert verified(during, old) == verified(during, new) == [True] * 3
    assert verified(after, new) == [True] * 3
    assert not any([*verified(after, old), *verified(before, new)])
