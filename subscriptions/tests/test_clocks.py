"""A console whose clock is an hour off: what is timed goes by the database's."""

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from subscriptions.models import Delivery, Endpoint, EndpointSecret
from subscriptions.tests.calling import Caller, code
from subscriptions.tests.delivering import (
    claimed_of,
    delivery_of,
    make_endpoint,
    publish_to,
    set_deliveries,
    set_endpoint,
)
from tenants.database import acting_for, database_clock
from tenants.models import Tenant
from tenants.services import NewTenant

HOUR = timedelta(hours=1)


@pytest.fixture
def owner(new_tenant: NewTenant) -> Caller:
    return Caller(new_tenant.api_key)


@pytest.fixture
def endpoint(tenant: Tenant) -> Endpoint:
    made, _ = make_endpoint(tenant, "https://subscriber.example/hook")
    publish_to(tenant)
    return made


def set_clock(monkeypatch: pytest.MonkeyPatch, off: timedelta) -> None:
    real = timezone.now

    def now() -> datetime:
        return real() + off

    monkeypatch.setattr(timezone, "now", now)


@pytest.mark.parametrize("off", [HOUR, -HOUR])
def test_message_is_retried_once_its_lease_is_over_and_not_before(
    tenant: Tenant,
    owner: Caller,
    endpoint: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
    off: timedelta,
) -> None:
    set_clock(monkeypatch, off)
    path = f"/deliveries/{delivery_of(tenant).public_id}/retry/"
    assert len(claimed_of(tenant)) == 1
    assert code(owner.post(path)) == (409, "delivery_not_retryable")
    set_deliveries(tenant, "leased_until = now() - interval '1 s'")
    assert owner.post(path).status_code == 202


def test_message_that_died_a_moment_ago_is_recovered_by_a_slow_console(
    tenant: Tenant,
    owner: Caller,
    endpoint: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_clock(monkeypatch, -HOUR)
    set_deliveries(tenant, "status = 'dead', finished_at = now()")
    reply = owner.post(f"/endpoints/{endpoint.public_id}/recover/")
    assert (reply.status_code, reply.json()["recovered"]) == (202, 1)


def test_secret_that_is_ended_at_once_signs_no_more_by_a_fast_console(
    tenant: Tenant,
    owner: Caller,
    endpoint: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_clock(monkeypatch, HOUR)
    path = f"/endpoints/{endpoint.public_id}/rotate-secret/"
    assert owner.post(path, {"overlap_s": 0}).status_code == 200
    with acting_for(tenant):
        old, new = EndpointSecret.objects.filter(endpoint=endpoint).order_by("id")
    assert old.expires_at is not None
    assert old.expires_at <= database_clock()
    assert new.expires_at is None
    (claimed,) = claimed_of(tenant)
    assert len(claimed.destination.secrets) == 1


def test_discard_is_dated_by_the_database(
    tenant: Tenant,
    owner: Caller,
    endpoint: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_clock(monkeypatch, HOUR)
    path = f"/deliveries/{delivery_of(tenant).public_id}/discard/"
    assert owner.post(path, {"reason": "Test meters."}).status_code == 200
    with acting_for(tenant):
        finished_at = Delivery.objects.get(tenant=tenant).finished_at
    assert finished_at is not None
    assert finished_at <= database_clock()


@pytest.mark.parametrize("off", [HOUR, -HOUR])
def test_window_begins_and_ends_by_the_databases_clock(
    tenant: Tenant,
    owner: Caller,
    endpoint: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
    off: timedelta,
) -> None:
    set_clock(monkeypatch, off)
    now = database_clock()
    path = f"/endpoints/{endpoint.public_id}/windows/"
    times = {"start_at": now.isoformat(), "end_at": (now + HOUR).isoformat()}
    planned = owner.post(path, {**times, "reason": "works"})
    assert planned.status_code == 201
    assert claimed_of(tenant) == []
    ended = owner.ask("DELETE", f"{path}{planned.json()['id']}/")
    assert ended.status_code == 204
    assert set_endpoint(endpoint).draining_since is not None
