"""Waking up for a retry, rather than finding it by the sweep."""

import pytest

from subscriptions import tasks
from subscriptions.services.delivering.next_due import next_due_s
from subscriptions.tests.delivering import make_endpoint, publish_to
from tenants.database import pipeline
from tenants.models import Tenant

DUE_IN_S = """UPDATE subscriptions_delivery
SET next_attempt_at = now() + %s * interval '1 s' WHERE tenant_id = %s"""
HELD_FOR_S = """UPDATE subscriptions_endpoint
SET hold_until = now() + %s * interval '1 s' WHERE tenant_id = %s"""


def put_off(tenant: Tenant, statement: str, seconds: float) -> None:
    make_endpoint(tenant, "http://127.0.0.1:1/")
    publish_to(tenant)
    with pipeline() as lane:
        lane.execute(statement.encode(), [seconds, tenant.pk])


def test_a_retry_is_seen_ahead(tenant: Tenant) -> None:
    put_off(tenant, DUE_IN_S, 0.5)
    found = next_due_s(within_s=1.0)
    assert found is not None
    assert found <= 0.5


def test_the_end_of_a_hold_is_seen_ahead(tenant: Tenant) -> None:
    put_off(tenant, HELD_FOR_S, 0.5)
    found = next_due_s(within_s=1.0)
    assert found is not None
    assert found <= 0.5


def test_a_turn_that_ends_asks_to_be_woken_in_time(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[tuple[str, float]] = []
    put_off(tenant, DUE_IN_S, 3.0)
    monkeypatch.setattr(
        tasks, "ring", lambda task, after_s=0.0: rung.append((task, after_s))
    )
    monkeypatch.setattr(tasks, "deliver", lambda **_: False)
    tasks.deliver_due()
    ((task, after_s),) = rung
    assert task == "subscriptions.deliver"
    assert after_s <= 3.0
