"""A batch from the queue to readings, receipts, rejections and messages."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import monotonic
from typing import Any

import pytest
from django.utils import timezone

from ingest.models import (
    CallbackRejection,
    CallbackState,
    Channel,
    Device,
    PendingCallback,
    ReadingRevision,
)
from ingest.tests.accepting import Inlet, drain, inlet, interval, register
from subscriptions.models import Message
from subscriptions.services.endpoints import create_endpoint
from tenants.actors import Actor
from tenants.database import acting_for
from tenants.identifiers import new_id
from tenants.models import Tenant
from tenants.services import NewTenant

MIDNIGHT = "2016-01-01T00:00:00+01:00"
ONE_O_CLOCK = "2016-01-01T01:00:00+01:00"


def counts(callback: Any) -> tuple[int, int, int, int]:
    return (
        callback.stored,
        callback.unchanged,
        callback.corrected,
        callback.rejected,
    )


def revisions(tenant: Tenant) -> list[ReadingRevision]:
    with acting_for(tenant):
        return list(ReadingRevision.objects.filter(tenant=tenant).order_by("id"))


def messages(tenant: Tenant) -> list[dict[str, Any]]:
    with acting_for(tenant):
        rows = Message.objects.filter(tenant=tenant).order_by("id")
        return [json.loads(bytes(row.body)) for row in rows]


def rejection(tenant: Tenant) -> CallbackRejection:
    with acting_for(tenant):
        return CallbackRejection.objects.get(tenant=tenant)


def test_a_callback_becomes_readings_in_the_stored_unit(
    tenant: Tenant, lane: Inlet
) -> None:
    callback = lane.settle(
        [
            interval(MIDNIGHT, "107.53", unit="Wh"),
            interval(ONE_O_CLOCK, 95.42, unit="Wh"),
        ]
    )
    assert callback.state == CallbackState.PROCESSED
    assert counts(callback) == (2, 0, 0, 0)
    assert callback.errors is None
    assert callback.processed_at is not None
    readings = lane.readings()
    assert [one.value for one in readings] == [Decimal("0.10753"), Decimal("0.09542")]
    assert {one.callback_id for one in readings} == {callback.id}
    with acting_for(tenant):
        device = Device.objects.get(tenant=tenant)
        channel = Channel.objects.get(tenant=tenant)
        assert (device.name, device.status) == ("WM-1", "active")
        assert (channel.code, channel.unit, channel.longest_s) == ("main", "kWh", 3600)
        assert not PendingCallback.objects.filter(tenant=tenant).exists()
        assert not CallbackRejection.objects.filter(tenant=tenant).exists()


def test_an_obis_code_says_what_a_new_channel_measures(
    tenant: Tenant, lane: Inlet
) -> None:
    lane.settle([register(MIDNIGHT, 48213, unit="m3", channel="7-0:3.0.0")])
    with acting_for(tenant):
        channel = Channel.objects.get(tenant=tenant)
    assert (channel.commodity, channel.kind, channel.unit) == ("gas", "register", "m3")


def test_the_same_readings_under_a_new_transaction_id_change_nothing(
    tenant: Tenant, lane: Inlet
) -> None:
    first = lane.settle([interval(MIDNIGHT, "1.50")])
    again = lane.settle([interval("2015-12-31T23:00:00Z", "1500", unit="Wh")])
    assert counts(again) == (0, 1, 0, 0)
    assert again.state == CallbackState.PROCESSED
    assert [one.callback_id for one in lane.readings()] == [first.id]
    assert revisions(tenant) == []


def test_a_correction_supersedes_and_the_old_value_is_remembered(
    tenant: Tenant, lane: Inlet
) -> None:
    before = timezone.now()
    first = lane.settle([interval(MIDNIGHT, "1.5")])
    second = lane.settle([interval(MIDNIGHT, "1.6", quality="F")])
    third = lane.settle([interval(MIDNIGHT, "1.7")])
    assert counts(second) == counts(third) == (0, 0, 1, 0)
    (reading,) = lane.readings()
    assert (reading.value, reading.quality) == (Decimal("1.7"), "A")
    assert reading.callback_id == third.id
    old, newer = revisions(tenant)
    assert (old.value, old.quality, old.callback_id) == (Decimal("1.5"), "A", first.id)
    assert (newer.value, newer.callback_id) == (Decimal("1.6"), second.id)
    # Known one after the other, without a gap or an overlap.
    assert before.replace(microsecond=0) <= old.known_from < old.known_to
    assert old.known_to == newer.known_from == second.processed_at
    assert newer.known_to == third.processed_at
    assert [one.value for one in lane.usage()] == [Decimal("1.7")]


def test_a_reading_of_an_older_callback_goes_to_the_history_alone(
    tenant: Tenant, lane: Inlet
) -> None:
    older = new_id()
    newer = lane.settle([interval(MIDNIGHT, "2")])
    late = lane.settle([interval(MIDNIGHT, "1")], callback_id=older)
    assert counts(late) == (0, 1, 0, 0)
    (reading,) = lane.readings()
    assert (reading.value, reading.callback_id) == (Decimal(2), newer.id)
    (kept,) = revisions(tenant)
    assert (kept.value, kept.callback_id) == (Decimal(1), older)
    # It was never in force.
    assert kept.known_from == kept.known_to


def test_a_missing_mark_never_replaces_a_value_but_a_value_fills_it(
    lane: Inlet,
) -> None:
    missing = {"at": MIDNIGHT, "duration_s": 3600, "quality": "N"}
    lane.settle([missing])
    assert [one.value for one in lane.readings()] == [None]
    filled = lane.settle([interval(MIDNIGHT, "3")])
    assert counts(filled) == (0, 0, 1, 0)
    marked = lane.settle([missing])
    assert counts(marked) == (0, 1, 0, 0)
    assert [one.value for one in lane.readings()] == [Decimal(3)]


def test_repeats_inside_one_callback_apply_in_their_order(
    tenant: Tenant, lane: Inlet
) -> None:
    callback = lane.settle(
        [interval(MIDNIGHT, value) for value in ("1", "2", "2", "3")]
    )
    assert counts(callback) == (1, 1, 2, 0)
    assert [one.value for one in lane.readings()] == [Decimal(3)]
    assert [one.value for one in revisions(tenant)] == [Decimal(1), Decimal(2)]
    assert all(one.known_from <= one.known_to for one in revisions(tenant))


def test_repeats_across_callbacks_of_one_batch_apply_in_order(lane: Inlet) -> None:
    ids = [lane.accept([interval(MIDNIGHT, value)]) for value in ("1", "1", "5")]
    drain()
    assert [counts(lane.callback(one)) for one in ids] == [
        (1, 0, 0, 0),
        (0, 1, 0, 0),
        (0, 0, 1, 0),
    ]
    assert [one.value for one in lane.readings()] == [Decimal(5)]


def test_one_bad_reading_leaves_the_others(tenant: Tenant, lane: Inlet) -> None:
    callback = lane.settle(
        [
            interval(MIDNIGHT),
            interval("2016-01-01T01:00:00", "1"),
            interval(ONE_O_CLOCK, "1", unit="m3"),
            interval("2016-01-01T02:00:00+01:00", "NaN"),
        ]
    )
    assert callback.state == CallbackState.PARTLY_REJECTED
    assert counts(callback) == (1, 0, 0, 3)
    assert callback.errors is not None
    assert [(one["index"], one["code"]) for one in callback.errors] == [
        (1, "time_invalid"),
        (2, "unit_mismatch"),
        (3, "value_invalid"),
    ]
    assert rejection(tenant).code == "time_invalid"


def test_a_unit_is_needed_until_the_channel_has_one(lane: Inlet) -> None:
    bare = {"at": MIDNIGHT, "duration_s": 3600, "value": "1"}
    refused = lane.settle([bare])
    assert refused.state == CallbackState.REJECTED
    assert refused.errors is not None
    assert refused.errors[0]["code"] == "unit_missing"
    lane.settle([interval(ONE_O_CLOCK)])
    assert counts(lane.settle([bare])) == (1, 0, 0, 0)


def test_a_channel_of_missing_marks_learns_its_unit_later(
    tenant: Tenant, lane: Inlet
) -> None:
    lane.settle([{"at": MIDNIGHT, "duration_s": 60, "quality": "N"}])
    lane.settle([interval(ONE_O_CLOCK, "5", unit="l")])
    lane.settle([interval(MIDNIGHT, "5", unit="Wh")])
    with acting_for(tenant):
        channel = Channel.objects.get(tenant=tenant)
    assert (channel.unit, channel.longest_s) == ("m3", 3600)
    assert [one.value for one in lane.readings()] == [None, Decimal("0.005")]


def test_an_unknown_unit_is_kept_as_it_is(tenant: Tenant, lane: Inlet) -> None:
    lane.settle([interval(MIDNIGHT, "12", unit="furlong")])
    with acting_for(tenant):
        assert Channel.objects.get(tenant=tenant).unit == "furlong"


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"[]", "application/json", "malformed_json"),
        (b'{"readings": 5}', "application/json; charset=utf-8", "malformed_json"),
        (b'{"readings": []}', "application/senml+cbor", "content_type_unknown"),
    ],
)
def test_a_body_that_cannot_be_read_is_rejected_whole(
    tenant: Tenant, lane: Inlet, body: bytes, content_type: str, code: str
) -> None:
    callback = lane.settle(body, content_type=content_type)
    assert callback.state == CallbackState.REJECTED
    assert callback.errors is not None
    assert [(one["index"], one["code"]) for one in callback.errors] == [(None, code)]
    assert rejection(tenant).code == code


def test_a_receipt_lists_a_hundred_errors_and_counts_all(lane: Inlet) -> None:
    callback = lane.settle([{} for _ in range(250)])
    assert callback.rejected == 250
    assert callback.errors is not None
    assert len(callback.errors) == 100


def test_known_only_sources_quarantine_new_devices(tenant: Tenant) -> None:
    strict = inlet(tenant, is_open=False)
    callback = strict.settle([interval(MIDNIGHT)])
    assert callback.state == CallbackState.REJECTED
    assert rejection(tenant).code == "device_unknown"
    with acting_for(tenant):
        device = Device.objects.get(tenant=tenant)
        assert device.status == "quarantined"
        assert not Channel.objects.filter(tenant=tenant).exists()
    # A quarantined device stays so, whichever source speaks of it.
    again = inlet(tenant).settle([interval(MIDNIGHT)])
    assert again.state == CallbackState.REJECTED


def test_the_same_device_name_is_another_device_in_another_tenant(
    tenant: Tenant, lane: Inlet, stranger: NewTenant
) -> None:
    other = inlet(stranger.tenant)
    lane.accept([interval(MIDNIGHT, "1")])
    other.accept([interval(MIDNIGHT, "2")])
    drain()
    assert [one.value for one in lane.readings()] == [Decimal(1)]
    assert [one.value for one in other.readings()] == [Decimal(2)]


def test_messages_tell_what_happened(tenant: Tenant, actor: Actor, lane: Inlet) -> None:
    with acting_for(tenant):
        create_endpoint(
            tenant=tenant, actor=actor, url="https://127.0.0.1/", event_types=["*"]
        )
    lane.settle([interval(MIDNIGHT, "1")])
    lane.settle([interval(MIDNIGHT, "2")])
    lane.settle(b"{}")
    told = messages(tenant)
    assert sorted(one["type"] for one in told) == [
        "callback.processed",
        "callback.processed",
        "callback.rejected",
        "device.registered",
        "reading.corrected",
    ]
    by_type = {one["type"]: one["data"] for one in told}
    assert by_type["callback.rejected"]["status"] == "rejected"
    assert by_type["callback.rejected"]["errors"][0]["code"] == "malformed_json"
    correction = by_type["reading.corrected"]
    assert correction["count"] == 1
    assert correction["corrections"][0]["start_at"] == "2015-12-31T23:00:00Z"
    assert correction["corrections"][0]["old_value"] == "1"
    assert correction["corrections"][0]["new_value"] == "2"
    assert by_type["device.registered"]["device"] == "WM-1"


def test_a_reading_that_was_confirmed_stays_before_a_late_one(
    tenant: Tenant, lane: Inlet
) -> None:
    first = lane.settle([interval(MIDNIGHT, "10")])
    between = new_id()
    confirmed = lane.settle([interval(MIDNIGHT, "10")])
    late = lane.settle([interval(MIDNIGHT, "12")], callback_id=between)
    assert counts(confirmed) == counts(late) == (0, 1, 0, 0)
    (reading,) = lane.readings()
    # The value is the first callback's still; the newer one only confirmed it.
    assert (reading.value, reading.callback_id) == (Decimal(10), first.id)
    assert reading.confirmed_by == confirmed.id
    assert [one.value for one in revisions(tenant)] == [Decimal(12)]


def test_a_confirmation_ends_with_the_value_that_it_confirmed(lane: Inlet) -> None:
    lane.settle([interval(MIDNIGHT, "10")])
    lane.settle([interval(MIDNIGHT, "10")])
    newest = lane.settle([interval(MIDNIGHT, "12")])
    (reading,) = lane.readings()
    assert (reading.callback_id, reading.confirmed_by) == (newest.id, None)


def test_a_repeat_in_the_same_batch_confirms(lane: Inlet) -> None:
    lane.accept([interval(MIDNIGHT, "10")])
    between = new_id()
    again = lane.accept([interval(MIDNIGHT, "10")])
    drain()
    lane.settle([interval(MIDNIGHT, "12")], callback_id=between)
    (reading,) = lane.readings()
    assert (reading.value, reading.confirmed_by) == (Decimal(10), again)


def test_twenty_thousand_readings_of_one_callback_take_seconds(lane: Inlet) -> None:
    start = datetime(2016, 1, 1, tzinfo=UTC)

    def year(value: str) -> list[dict[str, Any]]:
        return [
            interval((start + timedelta(minutes=15 * n)).isoformat(), value)
            | {"duration_s": 900}
            for n in range(20_000)
        ]

    began_at = monotonic()
    assert counts(lane.settle(year("1"))) == (20_000, 0, 0, 0)
    assert counts(lane.settle(year("1"))) == (0, 20_000, 0, 0)
    assert counts(lane.settle(year("2"))) == (0, 0, 20_000, 0)
    # Each plan that compares every row with every other takes minutes.
    assert monotonic() - began_at < 30
    readings = lane.readings()
    assert len(readings) == 20_000
    assert {one.value for one in readings} == {Decimal(2)}
