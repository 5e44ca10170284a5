"""What is forgotten of messages, when, and what never is."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from time import monotonic
from typing import Any

import pytest
from django.test import override_settings

from subscriptions.models import (
    Attempt,
    ConsentStep,
    Delivery,
    Endpoint,
    MaintenanceWindow,
    Manifest,
    Message,
    MessageDevice,
    PortalLink,
    Redelivery,
)
from subscriptions.services import retention
from subscriptions.services.retention import Forgotten, forget_messages
from subscriptions.tasks import maintain
from subscriptions.tests.delivering import make_endpoint
from subscriptions.tests.history import by_message, id_at, statuses, write_history
from tenants.database import acting_for, pipeline
from tenants.identifiers import new_id
from tenants.models import Tenant

NOW = datetime(2020, 6, 1, tzinfo=UTC)
AGE = timedelta(days=400)
OLD = NOW - timedelta(days=401)
YOUNG = NOW - timedelta(days=399)

_ATTEMPT = """
INSERT INTO subscriptions_attempt
    (tenant_id, id, delivery_id, number, started_at, duration_ms, endpoint_id)
SELECT tenant_id, gen_random_uuid(), id, 1, created_at, 5, endpoint_id
FROM subscriptions_delivery WHERE tenant_id = %s
"""


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """A process that has forgotten nothing yet."""
    retention._underway.clear()
    with override_settings(MESSAGE_RETENTION_DAYS=400):
        yield


@pytest.fixture
def endpoint(tenant: Tenant) -> Endpoint:
    found, _ = make_endpoint(tenant, "http://127.0.0.1:9/hook")
    return found


def attempt_each(endpoint: Endpoint) -> None:
    with pipeline() as lane:
        lane.execute(_ATTEMPT, [endpoint.tenant_id])


def left(tenant: Tenant) -> dict[str, int]:
    with acting_for(tenant):
        return {
            model.__name__: model._default_manager.filter(tenant=tenant).count()
            for model in (Message, Delivery, Attempt, MessageDevice)
        }


def forget(seconds: float = 20, now: datetime = NOW) -> Forgotten:
    return forget_messages(now=now, seconds=seconds)


def test_what_ended_long_ago_is_forgotten_with_all_that_belongs_to_it(
    tenant: Tenant, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "STEP", 3)
    for status in ("delivered", "dead", "cancelled"):
        write_history(endpoint, OLD, count=3, status=status, devices=["a", "b"])
    young = write_history(endpoint, YOUNG, count=2, devices=["a"])
    attempt_each(endpoint)
    assert forget() == (18, True)
    assert list(by_message(endpoint)) == young
    assert left(tenant) == {
        "Message": 2, "Delivery": 2, "Attempt": 2, "MessageDevice": 2
    }  # fmt: skip
    assert forget() == (0, True)


def test_what_waits_stays_with_its_message_until_it_has_ended(
    tenant: Tenant, endpoint: Endpoint
) -> None:
    neighbour, _ = make_endpoint(tenant, "http://127.0.0.1:9/other")
    (waits,) = write_history(endpoint, OLD, status="pending")
    write_history(endpoint, OLD)
    (shared,) = write_history(neighbour, OLD)
    with pipeline() as lane:
        lane.execute(
            """INSERT INTO subscriptions_delivery
                (tenant_id, id, message_id, endpoint_id, event_type, created_at)
            VALUES (%s, %s, %s, %s, 'callback.processed', %s)""",
            [tenant.pk, id_at(OLD), shared, endpoint.pk, OLD],
        )
    attempt_each(endpoint)
    assert forget() == (3, True)
    assert statuses(endpoint, [waits, shared]) == ["pending", "pending"]
    assert by_message(neighbour) == {}
    assert left(tenant) == {
        "Message": 2, "Delivery": 2, "Attempt": 2, "MessageDevice": 0
    }  # fmt: skip
    with acting_for(tenant):
        Delivery.objects.filter(tenant=tenant).update(status="delivered")
    assert forget() == (4, True)
    assert set(left(tenant).values()) == {0}


def test_a_row_goes_when_it_is_old_by_the_databases_clock_too(
    tenant: Tenant, endpoint: Endpoint
) -> None:
    write_history(endpoint, OLD)
    with acting_for(tenant):
        Delivery.objects.filter(tenant=tenant).update(created_at=YOUNG)
    assert forget() == (0, True)
    assert left(tenant)["Message"] == 1


def test_devices_of_old_messages_are_forgotten_in_bounded_steps(
    tenant: Tenant, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "DEVICE_STEP", 2)
    monkeypatch.setattr(retention, "DEVICE_MESSAGES", 2)
    devices = [f"d{number}" for number in range(5)]
    write_history(endpoint, OLD, count=5, devices=devices)
    young = write_history(endpoint, YOUNG, devices=devices[:4])
    steps = retention._of_devices(tenant.pk, retention._Reach(NOW - AGE))
    sizes = [left(tenant)["MessageDevice"] for _ in steps]
    assert max(before - after for before, after in pairwise([29, *sizes])) == 4
    with acting_for(tenant):
        rows = MessageDevice.objects.filter(tenant=tenant)
        kept = set(rows.values_list("device", "message_id"))
    assert kept == {(device, young[0]) for device in devices[:4]}


def test_a_turn_ends_in_time_and_the_next_goes_on(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "STEP", 4)
    write_history(endpoint, OLD, count=10)
    turns = [forget(seconds=-1)]
    while not turns[-1].is_done:
        turns.append(forget(seconds=-1))
    assert len(turns) > 6
    assert sum(turn.rows for turn in turns) >= 20
    assert left(endpoint.tenant)["Delivery"] == 0


def test_evidence_and_orders_that_ended_long_ago_go_too(
    tenant: Tenant, endpoint: Endpoint
) -> None:
    mine = {"tenant": tenant, "endpoint": endpoint}

    def write(at: datetime, status: str) -> None:
        later = at + timedelta(seconds=1)
        of = {**mine, "id": id_at(at)}
        with acting_for(tenant):
            ConsentStep.objects.create(**of, url="u", step="granted", at=at)
            MaintenanceWindow.objects.create(**of, start_at=at, end_at=later)
            PortalLink.objects.create(
                **of, digest=new_id().bytes, created_by="a", expires_at=later
            )
            Redelivery.objects.create(
                **of,
                kind="recover",
                status=status,
                since=at,
                until=later,
                created_by="a",
            )
        with pipeline() as lane:
            lane.execute(
                """INSERT INTO subscriptions_manifest (id, tenant_id, endpoint_id,
                    day_date, start_at, end_at, messages, ids_hash)
                VALUES (%s, %s, %s, %s, %s, %s, 0, '')""",
                [id_at(at), tenant.pk, endpoint.pk, at.date(), at, later],
            )

    write(OLD, "completed")
    write(OLD - timedelta(days=1), "running")
    write(YOUNG, "completed")
    assert forget().is_done
    kept: list[Any] = [ConsentStep, MaintenanceWindow, PortalLink, Manifest, Redelivery]
    with acting_for(tenant):
        counts = [one.objects.filter(tenant=tenant).count() for one in kept]
        assert Redelivery.objects.filter(tenant=tenant, status="running").exists()
        Redelivery.objects.filter(tenant=tenant).update(status="completed")
    assert counts == [1, 1, 1, 1, 2]


def test_the_task_forgets_nothing_that_is_young(
    tenant: Tenant, endpoint: Endpoint
) -> None:
    write_history(endpoint, datetime.now(tz=UTC) - timedelta(days=399))
    maintain(member_of_a_newer_release=1)
    assert left(tenant)["Message"] == 1


_MANY = """
WITH made AS (
    SELECT n, at, (to_char(n, 'FM"0169"00000000') || '70008000'
        || lpad(to_hex(n), 12, '0'))::uuid AS id
    FROM generate_series(1, %(rows)s::int) n,
        LATERAL (SELECT %(at)s + n * interval '1 ms' AS at) t
), messages AS (
    INSERT INTO subscriptions_message (tenant_id, id, event_type, body, created_at)
    SELECT %(tenant)s, id, 'callback.processed', '{}', at FROM made
), devices AS (
    INSERT INTO subscriptions_messagedevice (tenant_id, device, message_id)
    SELECT %(tenant)s, 'd' || n %% 1000, id FROM made
), attempts AS (
    INSERT INTO subscriptions_attempt
        (tenant_id, id, delivery_id, number, started_at, duration_ms, endpoint_id)
    SELECT %(tenant)s, id, id, 1, at, 5, %(endpoint)s FROM made
)
INSERT INTO subscriptions_delivery (tenant_id, id, message_id, endpoint_id, event_type,
    status, next_attempt_at, created_at)
SELECT %(tenant)s, id, id, %(endpoint)s, 'callback.processed', CASE WHEN n %% 1000 = 0
    THEN 'pending' ELSE 'delivered' END, now() + interval '1 d', at FROM made
"""


def test_200_000_rows_go_in_short_statements_and_what_waits_is_untouched(
    tenant: Tenant, endpoint: Endpoint
) -> None:
    values = {"rows": 50_000, "at": OLD, "tenant": tenant.pk, "endpoint": endpoint.pk}
    with pipeline() as lane:
        lane.execute(_MANY, values)
    durations_s, began = [], monotonic()
    for _ in retention._everything(retention._Reach(YOUNG)):
        durations_s.append(monotonic() - began)
        began = monotonic()
    # A tenth of a second here; the machine may have other things to do.
    assert max(durations_s) < 3, sorted(durations_s)[-5:]
    assert left(tenant) == {
        "Message": 50, "Delivery": 50, "Attempt": 50, "MessageDevice": 0
    }  # fmt: skip
