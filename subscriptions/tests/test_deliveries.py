"""One message again, or never: retries by hand, discards, messages asked for by id."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import override_settings

from subscriptions.models import Delivery, Endpoint
from subscriptions.services import deliveries
from subscriptions.services.deliveries import (
    DeliveryEnded,
    DeliveryRefused,
    DeliveryUnknown,
    MessagesInvalid,
    ReasonInvalid,
    discard_all,
    discard_delivery,
    resend_messages,
    retry_delivery,
)
from subscriptions.services.delivering.sending import deliver
from subscriptions.services.endpoints.rows import EndpointUnknown
from subscriptions.tests.delivering import (
    attempts,
    delivery_of,
    due_in_s,
    make_endpoint,
)
from subscriptions.tests.history import by_message, statuses, write_history
from subscriptions.tests.receivers import Reply, receiving
from tenants.actors import Actor
from tenants.database import acting_for, pipeline
from tenants.identifiers import new_id, public_id
from tenants.models import AuditEntry, Tenant
from tenants.services import NewTenant

NOW = datetime.now(tz=UTC)
YESTERDAY = NOW - timedelta(days=1)


@pytest.fixture
def endpoint(tenant: Tenant) -> Endpoint:
    found, _ = make_endpoint(tenant, "http://127.0.0.1:9/hook")
    return found


class Hands:
    """What an admin of the tenant does."""

    def __init__(self, tenant: Tenant, actor: Actor) -> None:
        self._who = {"tenant": tenant, "actor": actor}
        self._tenant = tenant

    def do(self, service: Any, **options: Any) -> Any:
        clock = {} if service is resend_messages else {"now": NOW}
        with acting_for(self._tenant):
            return service(**self._who, **clock, **options)


@pytest.fixture
def hands(tenant: Tenant, actor: Actor) -> Hands:
    return Hands(tenant, actor)


def one(endpoint: Endpoint, **options: Any) -> Delivery:
    (message,) = write_history(endpoint, YESTERDAY, **options)
    return by_message(endpoint)[message]


def change(delivery: Delivery, **columns: Any) -> None:
    with acting_for(delivery.tenant_id):
        Delivery.objects.filter(pk=delivery.pk).update(**columns)


def reread(delivery: Delivery) -> Delivery:
    with acting_for(delivery.tenant_id):
        return Delivery.objects.get(pk=delivery.pk)


@override_settings(RETRY_SCHEDULE_S=[300.0, 1800.0])
def test_a_retry_by_hand_takes_the_place_of_the_one_to_come_and_begins_anew(
    tenant: Tenant, hands: Hands
) -> None:
    with receiving() as receiver:
        receiver.behave = lambda _: Reply(500)
        endpoint, _ = make_endpoint(tenant, receiver.url)
        write_history(endpoint, YESTERDAY, status="pending")
        for expected in (1, 2):
            change(delivery_of(tenant), next_attempt_at=NOW, schedule_step=1)
            deliver()
            assert 1_800 <= due_in_s(delivery_of(tenant)) <= 1_980
            assert len(attempts(tenant)) == 2 * expected - 1
            hands.do(retry_delivery, delivery=delivery_of(tenant))
            deliver()
            assert 300 <= due_in_s(delivery_of(tenant)) <= 330
            assert len(attempts(tenant)) == 2 * expected
        deliver()
    assert len(attempts(tenant)) == 4
    assert len({got.headers["webhook-id"] for got in receiver.posts()}) == 1


def test_two_retries_by_hand_both_run(tenant: Tenant, hands: Hands) -> None:
    with receiving() as receiver:
        endpoint, _ = make_endpoint(tenant, receiver.url)
        delivery = one(endpoint, status="delivered")
        for _ in range(2):
            hands.do(retry_delivery, delivery=delivery)
            deliver()
    assert len(receiver.posts()) == 2


def test_a_late_message_that_is_retried_by_hand_waits_behind_no_other(
    endpoint: Endpoint, hands: Hands
) -> None:
    for lane, expected in ((0, 0), (1, 1), (2, 1)):
        delivery = one(endpoint)
        change(delivery, lane=lane)
        assert hands.do(retry_delivery, delivery=delivery).lane == expected


@pytest.mark.parametrize(
    ("of_delivery", "of_endpoint"),
    [
        ({"status": "cancelled"}, {}),
        ({"claim_id": uuid4(), "leased_until": NOW + timedelta(seconds=9)}, {}),
        ({"status": "pending", "next_attempt_at": None}, {}),
        ({}, {"status": "disabled"}),
        ({}, {"deleted_at": NOW}),
    ],
)
def test_a_retry_that_cannot_work_is_refused(
    endpoint: Endpoint,
    hands: Hands,
    of_delivery: dict[str, Any],
    of_endpoint: dict[str, Any],
) -> None:
    delivery = one(endpoint)
    change(delivery, **of_delivery)
    with acting_for(endpoint.tenant_id):
        Endpoint.objects.filter(pk=endpoint.pk).update(**(of_endpoint or {"url": "u"}))
    before = reread(delivery)
    with pytest.raises(DeliveryRefused):
        hands.do(retry_delivery, delivery=delivery)
    assert reread(delivery).next_attempt_at == before.next_attempt_at


@pytest.mark.parametrize("status", ["pending", "dead"])
def test_a_discarded_message_is_never_sent_and_says_why(
    tenant: Tenant, hands: Hands, status: str
) -> None:
    with receiving() as receiver:
        endpoint, _ = make_endpoint(tenant, receiver.url)
        delivery = one(endpoint, status=status)
        done = hands.do(discard_delivery, delivery=delivery, reason=" Test meters. ")
        assert (done.status, done.cancel_reason) == ("cancelled", "Test meters.")
        assert done.finished_at is not None
        deliver()
    assert receiver.posts() == []
    with acting_for(tenant):
        entry = AuditEntry.objects.filter(tenant=tenant).latest("at")
    assert (entry.action, entry.subject) == ("delivery.discarded", delivery.public_id)
    assert entry.detail == {"reason": "Test meters.", "was": status}
    with pytest.raises(DeliveryEnded):
        hands.do(discard_delivery, delivery=delivery, reason="again")


def test_a_result_that_comes_after_the_discard_changes_nothing(
    tenant: Tenant, endpoint: Endpoint, hands: Hands
) -> None:
    delivery = one(endpoint, status="pending")
    change(delivery, claim_id=uuid4(), leased_until=NOW + timedelta(minutes=1))
    done = hands.do(discard_delivery, delivery=delivery, reason="r")
    assert (done.claim_id, done.leased_until) == (None, None)


def test_discarding_lets_the_next_about_the_device_go(
    tenant: Tenant, endpoint: Endpoint, hands: Hands
) -> None:
    first, second = (one(endpoint, status="pending") for _ in range(2))
    change(second, next_attempt_at=None)
    with pipeline() as lane:
        lane.execute(
            """INSERT INTO subscriptions_devicelane
                (tenant_id, endpoint_id, device, sequence, message_id)
            VALUES (%s, %s, 'a', 2, %s)""",
            [tenant.pk, endpoint.pk, second.message_id],
        )
        for sequence, delivery in enumerate((first, second), start=1):
            change(delivery, is_ordered=True)
            lane.execute(
                "INSERT INTO subscriptions_laneplace VALUES (%s, %s, 'a', %s, %s)",
                [tenant.pk, endpoint.pk, sequence, delivery.pk],
            )
    hands.do(discard_delivery, delivery=first, reason="r")
    assert reread(second).next_attempt_at is not None


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501, "a\0b"])
def test_a_discard_without_a_usable_reason_is_refused(
    endpoint: Endpoint, hands: Hands, reason: str
) -> None:
    delivery = one(endpoint)
    with pytest.raises(ReasonInvalid):
        hands.do(discard_delivery, delivery=delivery, reason=reason)
    with pytest.raises(ReasonInvalid):
        hands.do(discard_all, endpoint=endpoint, reason=reason)
    assert reread(delivery).status == "dead"


def test_all_that_was_given_up_is_discarded_in_steps_and_nothing_else(
    tenant: Tenant, endpoint: Endpoint, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "_DISCARD_STEP", 4)
    monkeypatch.setattr(deliveries, "DISCARD_LIMIT", 8)
    neighbour, _ = make_endpoint(tenant, "http://127.0.0.1:9/other")
    others = [one(neighbour), one(endpoint, status="pending")]
    others.append(one(endpoint, status="delivered"))
    dead = write_history(endpoint, YESTERDAY, count=10)
    done = [hands.do(discard_all, endpoint=endpoint, reason="r") for _ in range(3)]
    assert done == [8, 2, 0]
    assert statuses(endpoint, dead) == ["cancelled"] * 10
    assert [reread(other).status for other in others] == [
        "dead", "pending", "delivered",
    ]  # fmt: skip


def test_discarding_waits_for_nobody_at_the_endpoint_and_holds_nobody_up(
    tenant: Tenant, actor: Actor, endpoint: Endpoint
) -> None:
    one(endpoint)
    with pipeline() as recorder, acting_for(tenant):
        recorder.execute(
            "SELECT FROM subscriptions_endpoint WHERE id = %s FOR UPDATE", [endpoint.pk]
        )
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '500ms'")
        done = discard_all(
            tenant=tenant, actor=actor, endpoint=endpoint, reason="r", now=YESTERDAY
        )
    assert done == 1


def test_messages_are_sent_again_by_their_ids_and_the_rest_is_accounted_for(
    endpoint: Endpoint, hands: Hands
) -> None:
    ended = [one(endpoint, status=status) for status in ("delivered", "dead")]
    waits, gone = one(endpoint, status="pending"), one(endpoint, status="cancelled")
    nobodys = new_id()
    ids = [row.message_id for row in (*ended, waits, gone)]
    done = hands.do(resend_messages, endpoint=endpoint, message_ids=[*ids, nobodys])
    assert (done.requeued, done.unknown) == (2, [public_id("msg", nobodys)])
    assert done.waiting == [public_id("msg", waits.message_id)]
    assert done.cancelled == [public_id("msg", gone.message_id)]
    assert statuses(endpoint, ids) == ["pending"] * 3 + ["cancelled"]
    assert [reread(row).schedule_step for row in (*ended, waits)] == [0, 0, 3]


@pytest.mark.parametrize("count", [0, deliveries.RESEND_LIMIT + 1])
def test_none_and_too_many_ids_are_refused(
    endpoint: Endpoint, hands: Hands, count: int
) -> None:
    ids = [new_id() for _ in range(count)]
    with pytest.raises(MessagesInvalid):
        hands.do(resend_messages, endpoint=endpoint, message_ids=ids)


def test_nobody_touches_another_tenants_messages(
    hands: Hands, stranger: NewTenant
) -> None:
    theirs, _ = make_endpoint(stranger.tenant, "http://127.0.0.1:9/hook")
    delivery = one(theirs)
    with pytest.raises(DeliveryUnknown):
        hands.do(retry_delivery, delivery=delivery)
    with pytest.raises(DeliveryUnknown):
        hands.do(discard_delivery, delivery=delivery, reason="r")
    with pytest.raises(EndpointUnknown):
        hands.do(discard_all, endpoint=theirs, reason="r")
    with pytest.raises(EndpointUnknown):
        hands.do(resend_messages, endpoint=theirs, message_ids=[delivery.message_id])
    assert reread(delivery).status == "dead"
