"""From an event to messages and deliveries."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from django.db import connection

from subscriptions.models import Delivery, Endpoint, Message
from subscriptions.services.publishing import Event, EventTypeUncatalogued, publish
from tenants.database import acting_for, pipeline
from tenants.identifiers import new_id
from tenants.models import Tenant
from tenants.services import NewTenant

NOW = datetime(2026, 11, 23, 18, 21, tzinfo=UTC)


def make_endpoint(tenant: Tenant, *event_types: str) -> Endpoint:
    with acting_for(tenant):
        return Endpoint.objects.create(
            tenant=tenant,
            url="https://subscriber.example/hook",
            event_types=list(event_types),
        )


def make_event(
    tenant: Tenant,
    event_type: str = "callback.processed",
    endpoint_id: UUID | None = None,
    occurred_at: datetime = NOW,
) -> Event:
    data = {"value": Decimal("0.10753")}
    return Event(
        tenant.pk, tenant.slug, event_type, data, occurred_at, endpoint_id=endpoint_id
    )


def publish_here(*events: Event) -> int:
    with pipeline() as lane, lane.cursor() as cursor:
        return publish(cursor, events)


def heard(endpoint: Endpoint) -> list[str]:
    with acting_for(endpoint.tenant):
        rows = Delivery.objects.filter(tenant=endpoint.tenant, endpoint=endpoint)
        return sorted(rows.values_list("event_type", flat=True))


def messages(tenant: Tenant) -> list[Message]:
    with acting_for(tenant):
        return list(Message.objects.filter(tenant=tenant).order_by("id"))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("callback.processed", ["callback.processed"]),
        ("callback.*", ["callback.processed", "callback.rejected"]),
        ("*", ["callback.processed", "callback.rejected", "reading.corrected"]),
        ("call.*", []),
        ("callback.proc*", []),
    ],
)
def test_endpoint_hears_what_its_pattern_names(
    tenant: Tenant, wanted: str, expected: list[str]
) -> None:
    endpoint = make_endpoint(tenant, wanted)
    written = publish_here(
        make_event(tenant, "callback.processed"),
        make_event(tenant, "callback.rejected"),
        make_event(tenant, "reading.corrected"),
    )
    assert heard(endpoint) == expected
    assert written == len(expected)


def test_each_wanting_endpoint_has_a_delivery_of_the_one_message(
    tenant: Tenant,
) -> None:
    one, two = make_endpoint(tenant, "*"), make_endpoint(tenant, "callback.*", "*")
    assert publish_here(make_event(tenant)) == 2
    assert heard(one) == heard(two) == ["callback.processed"]
    assert len(messages(tenant)) == 1


def test_event_that_nobody_wants_leaves_no_row(tenant: Tenant) -> None:
    make_endpoint(tenant, "invoice.issued")
    assert publish_here(make_event(tenant)) == 0
    assert messages(tenant) == []


def test_no_events_write_nothing() -> None:
    assert publish_here() == 0


def test_message_body_is_what_the_contract_says(tenant: Tenant) -> None:
    make_endpoint(tenant, "*")
    local = datetime(2026, 11, 23, 19, 21, tzinfo=timezone(timedelta(hours=1)))
    publish_here(make_event(tenant, occurred_at=local))
    (message,) = messages(tenant)
    assert json.loads(bytes(message.body)) == {
        "id": message.public_id,
        "type": "callback.processed",
        "timestamp": "2026-11-23T18:21:00Z",
        "tenant": tenant.slug,
        "data": {"value": "0.10753"},
    }


def test_event_for_one_endpoint_is_heard_by_it_alone(tenant: Tenant) -> None:
    chosen, other = make_endpoint(tenant, "invoice.issued"), make_endpoint(tenant, "*")
    event = make_event(tenant, "bill_run.completed", endpoint_id=chosen.pk)
    assert publish_here(event) == 1
    assert heard(chosen) == ["bill_run.completed"]
    assert heard(other) == []


def test_another_tenants_endpoint_hears_nothing(
    tenant: Tenant, stranger: NewTenant
) -> None:
    mine, theirs = make_endpoint(tenant, "*"), make_endpoint(stranger.tenant, "*")
    written = publish_here(
        make_event(tenant), make_event(tenant, endpoint_id=theirs.pk)
    )
    assert written == 1
    assert heard(mine) == ["callback.processed"]
    assert heard(theirs) == []


def test_deleted_endpoint_hears_nothing(tenant: Tenant) -> None:
    endpoint = make_endpoint(tenant, "*")
    with acting_for(tenant):
        Endpoint.objects.filter(pk=endpoint.pk).update(deleted_at=NOW)
    assert publish_here(make_event(tenant, endpoint_id=endpoint.pk)) == 0


def test_application_publishes_in_its_own_transaction(tenant: Tenant) -> None:
    endpoint = make_endpoint(tenant, "*")
    with acting_for(tenant), connection.cursor() as cursor:
        assert publish(cursor, [make_event(tenant), make_event(tenant)]) == 2
    assert heard(endpoint) == ["callback.processed"] * 2


def test_events_of_several_tenants_go_out_together(
    tenant: Tenant, stranger: NewTenant
) -> None:
    mine, theirs = make_endpoint(tenant, "*"), make_endpoint(stranger.tenant, "*")
    assert publish_here(make_event(tenant), make_event(stranger.tenant)) == 2
    assert heard(mine) == heard(theirs) == ["callback.processed"]
    (message,) = messages(stranger.tenant)
    assert json.loads(bytes(message.body))["tenant"] == stranger.tenant.slug


def test_type_outside_the_catalogue_is_refused(tenant: Tenant) -> None:
    with pytest.raises(EventTypeUncatalogued, match=r"^meter\.exploded$"):
        publish_here(make_event(tenant, "meter.exploded", endpoint_id=new_id()))
