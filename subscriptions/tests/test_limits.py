"""Rates, holds, windows and drains: bounds that hold for all workers together."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from subscriptions.models import Endpoint, MaintenanceWindow
from subscriptions.services.delivering.claims import claim
from subscriptions.services.delivering.pacing import FAILING_LIMIT
from subscriptions.tests.delivering import (
    claimed_of,
    deliveries,
    make_endpoint,
    outcome,
    publish_to,
    record_all,
    set_deliveries,
    set_endpoint,
)
from tenants.database import acting_for
from tenants.models import Tenant
from tenants.services import NewTenant

URL = "https://subscriber.example/hook"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def soon(**ahead: float) -> datetime:
    return datetime.now(tz=UTC) + timedelta(**ahead)


def waiting(tenant: Tenant, count: int, **fields: Any) -> Endpoint:
    endpoint, _ = make_endpoint(tenant, URL, **{"rate_used_until": LONG_AGO, **fields})
    publish_to(tenant, count)
    return endpoint


@pytest.mark.parametrize(
    "rates",
    [
        {"allowed_rate_per_min": 40},
        {"max_rate_per_min": 40},
        {"allowed_rate_per_min": 40, "max_rate_per_min": 9_000},
        {"allowed_rate_per_min": 9_000, "max_rate_per_min": 40},
    ],
)
def test_lowest_rate_holds_for_all_workers_and_spends_no_attempt(
    tenant: Tenant, rates: dict[str, int]
) -> None:
    waiting(tenant, 10, **rates)
    assert len(claimed_of(tenant)) == 4
    assert claimed_of(tenant) == []
    tries = sorted(one.attempt_count for one in deliveries(tenant))
    assert tries == [0] * 6 + [1] * 4


@pytest.mark.parametrize("rate", [133_333_334, 999_999_999, 2_147_483_647])
def test_rate_beyond_all_bounds_stops_nobody(
    tenant: Tenant, stranger: NewTenant, rate: int
) -> None:
    endpoint = waiting(tenant, 3, allowed_rate_per_min=rate)
    waiting(stranger.tenant, 2, allowed_rate_per_min=40)
    claimed = claim(256)
    tenants = [one.tenant_id for one in claimed]
    assert (tenants.count(tenant.pk), tenants.count(stranger.tenant.pk)) == (3, 2)
    assert set_endpoint(endpoint).rate_used_until > LONG_AGO


def test_rate_flows_in_again(tenant: Tenant) -> None:
    endpoint = waiting(tenant, 10, max_rate_per_min=40)
    assert len(claimed_of(tenant)) == 4
    used_until = set_endpoint(endpoint).rate_used_until
    set_endpoint(endpoint, rate_used_until=used_until - timedelta(seconds=3.4))
    assert len(claimed_of(tenant)) == 2


def test_hold_lets_nothing_through_and_ends_by_itself(tenant: Tenant) -> None:
    endpoint = waiting(tenant, 3, hold_until=soon(seconds=30))
    assert claimed_of(tenant) == []
    set_endpoint(endpoint, hold_until=soon(seconds=-1))
    assert len(claimed_of(tenant)) == 3


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_holds_the_whole_endpoint(tenant: Tenant, status: int) -> None:
    endpoint = waiting(tenant, 3)
    (first,) = claim(1)
    record_all([first], outcome(status, headers={"retry-after": "600"}))
    held = set_endpoint(endpoint)
    assert held.hold_until is not None
    assert soon(seconds=590) < held.hold_until <= soon(seconds=601)
    assert held.hold_reason
    assert claimed_of(tenant) == []
    assert sum(one.attempt_count for one in deliveries(tenant)) == 1


def test_window_holds_deliveries_until_it_is_closed_and_then_drains(
    tenant: Tenant,
) -> None:
    endpoint = waiting(tenant, 40, drain_rate_per_min=100)
    with acting_for(tenant):
        window = MaintenanceWindow.objects.create(
            tenant=tenant,
            endpoint=endpoint,
            start_at=soon(minutes=-5),
            end_at=soon(minutes=5),
        )
    assert claimed_of(tenant) == []
    with acting_for(tenant):
        MaintenanceWindow.objects.filter(pk=window.pk).update(end_at=soon(seconds=-1))
    first = claimed_of(tenant)
    assert 0 < len(first) <= 10
    assert set_endpoint(endpoint).draining_since is not None
    assert {one.attempt_count for one in deliveries(tenant)} == {0, 1}


def test_window_that_has_not_begun_holds_nothing(tenant: Tenant) -> None:
    endpoint = waiting(tenant, 2)
    with acting_for(tenant):
        MaintenanceWindow.objects.create(
            tenant=tenant,
            endpoint=endpoint,
            start_at=soon(minutes=5),
            end_at=soon(minutes=9),
        )
    assert len(claimed_of(tenant)) == 2


def test_drain_ends_when_nothing_due_is_older_than_it(tenant: Tenant) -> None:
    endpoint = waiting(tenant, 7, drain_rate_per_min=60, draining_since=soon(seconds=1))
    record_all(claimed_of(tenant), outcome(204))
    assert set_endpoint(endpoint).draining_since is not None
    set_endpoint(endpoint, rate_used_until=LONG_AGO)
    record_all(claimed_of(tenant), outcome(204))
    set_endpoint(endpoint, draining_since=soon(seconds=-1))
    set_deliveries(tenant, "next_attempt_at = now()")
    publish_to(tenant, 1)
    set_endpoint(endpoint, rate_used_until=LONG_AGO)
    claimed_of(tenant)
    assert set_endpoint(endpoint).draining_since is None


def test_endpoint_without_a_token_in_force_waits_and_spends_nothing(
    tenant: Tenant,
) -> None:
    endpoint = waiting(
        tenant,
        2,
        oauth2_token_url=URL,
        oauth2_expires_at=soon(seconds=5),
    )
    assert claimed_of(tenant) == []
    set_endpoint(endpoint, oauth2_expires_at=soon(minutes=5))
    assert len(claimed_of(tenant)) == 2


def test_endpoint_that_fails_has_two_at_a_time(tenant: Tenant) -> None:
    waiting(tenant, 10, failing_since=soon(minutes=-1))
    assert len(claimed_of(tenant)) == FAILING_LIMIT


def test_claim_changes_no_index_and_its_lease_is_apart_from_the_due_time(
    tenant: Tenant,
) -> None:
    waiting(tenant, 1)
    (before,) = deliveries(tenant)
    assert len(claimed_of(tenant)) == 1
    (after,) = deliveries(tenant)
    assert after.next_attempt_at == before.next_attempt_at
    assert after.leased_until is not None
    assert after.lane == before.lane
    assert claimed_of(tenant) == []
    set_deliveries(tenant, "leased_until = now()")
    assert len(claimed_of(tenant)) == 1


def test_delivery_that_waits_for_its_turn_in_a_lane_is_not_claimed(
    tenant: Tenant,
) -> None:
    waiting(tenant, 1)
    set_deliveries(tenant, "next_attempt_at = NULL")
    assert claimed_of(tenant) == []
