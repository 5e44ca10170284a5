"""Maintenance windows: messages wait in them, and no attempt is spent."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from subscriptions.breaking import PATIENCE
from subscriptions.models import Endpoint, MaintenanceWindow
from subscriptions.services.delivering.sending import deliver
from subscriptions.services.windows import WINDOW_LIMIT
from subscriptions.tests.calling import Caller, code, register
from subscriptions.tests.delivering import (
    claimed_of,
    deliver_until,
    delivery_of,
    make_endpoint,
    outcome,
    publish_to,
    record_all,
)
from subscriptions.tests.receivers import receiving
from tenants.actors import Actor
from tenants.database import acting_for
from tenants.models import Tenant
from tenants.services import NewTenant


@pytest.fixture
def owner(new_tenant: NewTenant) -> Caller:
    return Caller(new_tenant.api_key)


@pytest.fixture
def outsider(stranger: NewTenant) -> Caller:
    return Caller(stranger.api_key)


def times(start_in_h: float, end_in_h: float, reason: str = "works") -> dict[str, str]:
    now = datetime.now(tz=UTC)
    return {
        "start_at": (now + timedelta(hours=start_in_h)).isoformat(),
        "end_at": (now + timedelta(hours=end_in_h)).isoformat(),
        "reason": reason,
    }


def windows_of(endpoint: Endpoint) -> str:
    return f"/endpoints/{endpoint.public_id}/windows/"


def reread(endpoint: Endpoint) -> Endpoint:
    with acting_for(endpoint.tenant_id):
        endpoint.refresh_from_db()
    return endpoint


def test_messages_wait_in_a_window_and_no_attempt_is_spent(
    tenant: Tenant, owner: Caller
) -> None:
    with receiving() as receiver:
        endpoint, _ = make_endpoint(tenant, receiver.url)
        made = owner.post(windows_of(endpoint), times(-1, 1)).json()
        publish_to(tenant)
        deliver()
        delivery = delivery_of(tenant)
        assert (delivery.status, delivery.attempt_count) == ("pending", 0)
        assert receiver.posts() == []
        ended = owner.ask("DELETE", f"{windows_of(endpoint)}{made['id']}/")
        assert ended.status_code == 204
        assert reread(endpoint).draining_since is not None
        deliver_until(tenant, "delivered")
    assert delivery_of(tenant).attempt_count == 1
    assert owner.get(windows_of(endpoint)).json()["results"] == []


def test_end_of_a_window_bounds_the_rate_from_its_first_message_on(
    tenant: Tenant, owner: Caller
) -> None:
    with receiving() as receiver:
        endpoint, _ = make_endpoint(
            tenant,
            receiver.url,
            drain_rate_per_min=20,
            rate_used_until=datetime.now(tz=UTC) - timedelta(hours=1),
        )
        owner.post(windows_of(endpoint), times(-1, 1))
        publish_to(tenant, 20)
        ended_at = datetime.now(tz=UTC) - timedelta(seconds=1)
        with acting_for(tenant):
            MaintenanceWindow.objects.filter(tenant=tenant).update(
                start_at=ended_at - timedelta(hours=1), end_at=ended_at
            )
        deliver()
        sent = len(receiver.posts())
    # A tenth of the rate may come at once, and little flows in meanwhile.
    assert 1 <= sent <= 4
    assert reread(endpoint).draining_since is not None
    with acting_for(tenant):
        (window,) = MaintenanceWindow.objects.filter(tenant=tenant)
    assert window.closed_at is not None


@pytest.mark.parametrize("is_ended_by_hand", [True, False])
def test_end_of_a_window_begins_the_count_of_failures_anew(
    tenant: Tenant, owner: Caller, is_ended_by_hand: bool
) -> None:
    now = datetime.now(tz=UTC)
    endpoint, _ = make_endpoint(
        tenant,
        "https://subscriber.example/",
        failing_since=now - PATIENCE - timedelta(days=1),
        failing_warned=90,
    )
    made = owner.post(windows_of(endpoint), times(-1, 1)).json()
    publish_to(tenant)
    assert claimed_of(tenant) == []
    if is_ended_by_hand:
        owner.ask("DELETE", f"{windows_of(endpoint)}{made['id']}/")
    else:
        with acting_for(tenant):
            MaintenanceWindow.objects.filter(tenant=tenant).update(
                start_at=now - timedelta(days=6), end_at=now - timedelta(seconds=1)
            )
    record_all(claimed_of(tenant), outcome(500))
    assert reread(endpoint).status == "active"
    assert endpoint.failing_warned == 0
    assert endpoint.failing_since is not None
    assert endpoint.failing_since > now


def test_window_that_has_not_begun_holds_nothing_and_is_called_off(
    tenant: Tenant, owner: Caller
) -> None:
    with receiving() as receiver:
        endpoint, _ = make_endpoint(tenant, receiver.url)
        made = owner.post(windows_of(endpoint), times(1, 2)).json()
        publish_to(tenant)
        deliver_until(tenant, "delivered")
    path = f"{windows_of(endpoint)}{made['id']}/"
    assert owner.ask("DELETE", path).status_code == 204
    assert owner.ask("DELETE", path).status_code == 404
    with acting_for(tenant):
        assert not MaintenanceWindow.objects.filter(tenant=tenant).exists()


@pytest.mark.parametrize(
    "wrong",
    [
        times(2, 1),
        times(-3, -2),
        times(0, 24 * 32),
        times(24 * 400, 24 * 401),
        times(0, 1, reason="x" * 201),
        {"start_at": "soon", "end_at": "later"},
        {"start_at": "2026-01-01T00:00:00Z"},
    ],
)
def test_window_that_cannot_be_is_refused(owner: Caller, wrong: Any) -> None:
    path = f"/endpoints/{register(owner)['id']}/windows/"
    status, found = code(owner.post(path, wrong))
    assert (status, found in {"window_invalid", "invalid"}) == (400, True)


def test_windows_ahead_are_bounded(tenant: Tenant, owner: Caller) -> None:
    endpoint, _ = make_endpoint(tenant, "https://subscriber.example/")
    now = datetime.now(tz=UTC)
    with acting_for(tenant):
        MaintenanceWindow.objects.bulk_create(
            MaintenanceWindow(
                tenant=tenant,
                endpoint=endpoint,
                start_at=now,
                end_at=now + timedelta(hours=1),
            )
            for _ in range(WINDOW_LIMIT)
        )
    refused = owner.post(windows_of(endpoint), times(1, 2))
    assert code(refused) == (409, "window_limit_reached")


def test_window_of_another_endpoint_is_not_ended_by_this_ones_path(
    tenant: Tenant, actor: Actor, owner: Caller, outsider: Caller
) -> None:
    one, _ = make_endpoint(tenant, "https://one.example/")
    two, _ = make_endpoint(tenant, "https://two.example/")
    made = owner.post(windows_of(one), times(0, 1)).json()
    wrong = f"{windows_of(two)}{made['id']}/"
    assert owner.ask("DELETE", wrong).status_code == 404
    right = f"{windows_of(one)}{made['id']}/"
    assert outsider.ask("DELETE", right).status_code == 404
    assert len(owner.get(windows_of(one)).json()["results"]) == 1
