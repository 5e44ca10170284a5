"""Deleting endpoints: what waits is cancelled visibly, what belongs to them ends."""

from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest

from subscriptions.models import (
    Delivery,
    Endpoint,
    EndpointSecret,
    LanePlace,
    MaintenanceWindow,
    PortalLink,
    Redelivery,
)
from subscriptions.services import orphans
from subscriptions.services.delivering.sending import deliver
from subscriptions.services.endpoints import delete_endpoint
from subscriptions.services.orphans import cancel_orphans
from subscriptions.tasks import cancel_orphaned_deliveries
from subscriptions.tests.calling import Caller, code, register
from subscriptions.tests.delivering import deliveries, make_endpoint, publish_to
from tenants.actors import Actor
from tenants.database import acting_for, pipeline
from tenants.identifiers import parse_public_id
from tenants.models import AuditEntry, Tenant
from tenants.services import NewTenant

SOON = {"start_at": "2026-01-01T00:00:00Z", "end_at": "2999-01-01T00:00:00Z"}


@pytest.fixture
def owner(new_tenant: NewTenant) -> Caller:
    return Caller(new_tenant.api_key)


def statuses(tenant: Tenant) -> list[str]:
    return [delivery.status for delivery in deliveries(tenant)]


def delete(tenant: Tenant, actor: Actor, endpoint: Endpoint) -> None:
    with acting_for(tenant):
        delete_endpoint(
            tenant=tenant, actor=actor, endpoint=endpoint, now=datetime.now(tz=UTC)
        )


def test_all_that_belongs_to_it_ends_and_its_secrets_are_wiped(
    tenant: Tenant, owner: Caller
) -> None:
    made = register(owner)
    path = f"/endpoints/{made['id']}/"
    owner.ask("PATCH", path, {"headers": {"X-Api-Key": "key"}})
    end_at = (datetime.now(tz=UTC) + timedelta(days=1)).isoformat()
    owner.post(f"{path}windows/", {**SOON, "end_at": end_at})
    owner.post(f"{path}portal-links/", {})
    owner.post(f"{path}test/")
    with acting_for(tenant):
        Delivery.objects.filter(tenant=tenant).update(
            status="dead", finished_at=datetime.now(tz=UTC) - timedelta(minutes=1)
        )
    since = (datetime.now(tz=UTC) - timedelta(days=1)).isoformat()
    assert owner.post(f"{path}recover/", {"since": since}).json()["recovered"] == 1
    assert owner.ask("DELETE", path).status_code == 204
    assert code(owner.ask("DELETE", path))[0] == 404
    with acting_for(tenant):
        row = Endpoint.objects.get(pk=parse_public_id("ep", made["id"]))
        (window,) = MaintenanceWindow.objects.filter(tenant=tenant)
        (link,) = PortalLink.objects.filter(tenant=tenant)
        (redelivery,) = Redelivery.objects.filter(tenant=tenant)
        assert not EndpointSecret.objects.filter(tenant=tenant).exists()
    assert bytes(row.sealed_headers) == b""
    assert window.closed_at is not None
    assert link.revoked_at is not None
    assert redelivery.status == "cancelled"


def test_cancelled_deliveries_say_why_and_no_claim_is_left(
    tenant: Tenant, actor: Actor
) -> None:
    endpoint, _ = make_endpoint(tenant, "https://subscriber.example/")
    publish_to(tenant, 3)
    with acting_for(tenant):
        Delivery.objects.filter(tenant=tenant).update(
            claim_id=uuid4(), leased_until=datetime.now(tz=UTC) + timedelta(minutes=1)
        )
    delete(tenant, actor, endpoint)
    for delivery in deliveries(tenant):
        assert delivery.status == "cancelled"
        assert delivery.cancel_reason == "The endpoint was deleted."
        assert (delivery.claim_id, delivery.leased_until) == (None, None)
        assert delivery.finished_at is not None


def test_very_long_queue_is_cancelled_step_by_step(
    tenant: Tenant, actor: Actor
) -> None:
    endpoint, _ = make_endpoint(tenant, "https://subscriber.example/")
    publish_to(tenant, 7)
    with patch.object(orphans, "STEP", 3), patch.object(orphans, "TURN_S", 0.0):
        delete(tenant, actor, endpoint)
        assert statuses(tenant).count("cancelled") == 3
        turns = 0
        while cancel_orphans():
            turns += 1
    assert turns >= 2
    assert statuses(tenant) == ["cancelled"] * 7
    with acting_for(tenant):
        entry = AuditEntry.objects.get(tenant=tenant, action="endpoint.deleted")
    assert (entry.detail["cancelled"], entry.detail["is_all"]) == (3, False)


def test_places_in_device_lanes_are_given_up(tenant: Tenant, actor: Actor) -> None:
    endpoint, _ = make_endpoint(tenant, "https://subscriber.example/", is_ordered=True)
    publish_to(tenant, 3)
    with acting_for(tenant):
        Delivery.objects.filter(tenant=tenant).update(is_ordered=True)
        LanePlace.objects.bulk_create(
            LanePlace(
                tenant=tenant,
                endpoint=endpoint,
                device="WM-1",
                sequence=number,
                delivery=delivery,
            )
            for number, delivery in enumerate(Delivery.objects.filter(tenant=tenant))
        )
    delete(tenant, actor, endpoint)
    with acting_for(tenant):
        assert not LanePlace.objects.filter(tenant=tenant).exists()


def test_delivery_that_a_worker_is_recording_is_passed_over_and_found_again(
    tenant: Tenant, actor: Actor
) -> None:
    endpoint, _ = make_endpoint(tenant, "https://subscriber.example/")
    publish_to(tenant, 2)
    busy: Any = deliveries(tenant)[0].pk
    with pipeline() as lane:
        lane.execute(
            "SELECT FROM subscriptions_delivery WHERE id = %s FOR UPDATE", [busy]
        )
        delete(tenant, actor, endpoint)
        assert statuses(tenant) == ["pending", "cancelled"]
        # No turn is spent on waiting for it.
        assert cancel_orphans() is False
    assert cancel_orphans() is False
    assert statuses(tenant) == ["cancelled", "cancelled"]


def test_a_turn_cancels_all_of_a_queue_of_many_steps(
    tenant: Tenant, actor: Actor
) -> None:
    endpoint, _ = make_endpoint(tenant, "https://subscriber.example/")
    publish_to(tenant, 5)
    with patch.object(orphans, "STEP", 1):
        delete(tenant, actor, endpoint)
        assert cancel_orphans() is False
    assert statuses(tenant) == ["cancelled"] * 5


def test_a_delivering_worker_leaves_a_deleted_queue_alone(
    tenant: Tenant, actor: Actor
) -> None:
    endpoint, _ = make_endpoint(tenant, "https://subscriber.example/")
    publish_to(tenant, 3)
    with patch.object(orphans, "STEP", 1):
        delete(tenant, actor, endpoint)
        assert deliver() is False
        assert statuses(tenant).count("pending") == 2
    cancel_orphaned_deliveries()
    assert statuses(tenant) == ["cancelled"] * 3
