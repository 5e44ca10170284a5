"""From an event to messages and deliveries."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from subscriptions.filtering import Subject
from subscriptions.models import Delivery, Endpoint, Message, MessageDevice
from subscriptions.services.publishing import Event, EventTypeUncatalogued, publish
from tenants.database import acting_for, pipeline
from tenants.identifiers import new_id
from tenants.models import Tenant
from tenants.services import NewTenant

NOW = datetime(2026, 11, 23, 18, 21, tzinfo=UTC)


def make_endpoint(tenant: Tenant, *event_types: str, **more: Any) -> Endpoint:
    with acting_for(tenant):
        return Endpoint.objects.create(
            tenant=tenant,
            url="https://subscriber.example/hook",
            event_types=list(event_types),
            **more,
        )


def make_event(
    tenant: Tenant,
    event_type: str = "callback.processed",
    endpoint_id: UUID | None = None,
    occurred_at: datetime = NOW,
    **more: Any,
) -> Event:
    data = {"value": Decimal("0.10753")}
    return Event(
        tenant.pk,
        tenant.slug,
        event_type,
        data,
        occurred_at,
        endpoint_id=endpoint_id,
        **more,
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


def test_endpoint_that_did_not_ask_is_told_too_where_the_event_says_so(
    tenant: Tenant,
) -> None:
    asked, own = make_endpoint(tenant, "*"), make_endpoint(tenant, "invoice.issued")
    publish_here(make_event(tenant, also_endpoint_id=own.pk))
    publish_here(make_event(tenant, also_endpoint_id=asked.pk))
    assert heard(asked) == ["callback.processed"] * 2
    assert heard(own) == ["callback.processed"]
    assert len(messages(tenant)) == 2


def test_filters_narrow_who_hears_but_not_what_is_addressed(tenant: Tenant) -> None:
    narrow = make_endpoint(tenant, "*", filters={"devices": ["WM-2"]})
    publish_here(
        make_event(tenant, subjects=lambda: [Subject("WM-1")]),
        make_event(tenant, "invoice.issued"),
    )
    assert heard(narrow) == []
    publish_here(
        make_event(tenant, subjects=lambda: [Subject("WM-1"), Subject("WM-2")]),
        make_event(tenant, "endpoint.test", endpoint_id=narrow.pk),
        make_event(tenant, "bill_run.completed", also_endpoint_id=narrow.pk),
    )
    assert heard(narrow) == [
        "bill_run.completed",
        "callback.processed",
        "endpoint.test",
    ]


def test_source_of_the_callback_is_filtered_by_its_id(tenant: Tenant) -> None:
    source = new_id()
    endpoint = make_endpoint(tenant, "*", filters={"sources": [f"src_{source.hex}"]})
    publish_here(
        make_event(tenant, source_id=source),
        make_event(tenant, "callback.rejected", source_id=new_id()),
        make_event(tenant, "device.registered"),
    )
    assert heard(endpoint) == ["callback.processed"]


def test_what_an_event_is_about_is_not_asked_where_nobody_listens(
    tenant: Tenant,
) -> None:
    def never() -> list[Subject]:
        raise AssertionError

    make_endpoint(tenant, "invoice.*")
    assert publish_here(make_event(tenant, subjects=never)) == 0


def test_message_remembers_its_callback_and_devices(tenant: Tenant) -> None:
    make_endpoint(tenant, "*")
    receipt = new_id()
    publish_here(
        make_event(
            tenant,
            receipt_id=receipt,
            subjects=lambda: [Subject("B", "x"), Subject("A"), Subject("B", "y")],
        )
    )
    (message,) = messages(tenant)
    assert message.receipt_id == receipt
    with acting_for(tenant):
        rows = MessageDevice.objects.filter(tenant=tenant, message_id=message.pk)
        assert sorted(rows.values_list("device", flat=True)) == ["A", "B"]


def test_message_is_found_by_10_000_of_its_devices(tenant: Tenant) -> None:
    make_endpoint(tenant, "*")
    names = [f"WM-{number:05}" for number in range(10_001)]
    publish_here(make_event(tenant, subjects=lambda: [Subject(one) for one in names]))
    with acting_for(tenant):
        rows = MessageDevice.objects.filter(tenant=tenant)
        assert rows.count() == 10_000
        assert not rows.filter(device=names[-1]).exists()


def test_alarms_take_the_urgent_lane(tenant: Tenant) -> None:
    make_endpoint(tenant, "*")
    publish_here(make_event(tenant, "device.silent"), make_event(tenant))
    with acting_for(tenant):
        lanes = Delivery.objects.filter(tenant=tenant).values_list("event_type", "lane")
        assert dict(lanes) == {"device.silent": 0, "callback.processed": 1}
