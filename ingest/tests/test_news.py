"""What the events of a callback are about, and who hears of them by that."""

from typing import Any

import pytest

from ingest.models import Channel
from ingest.processing import batch, chunks, claims
from ingest.tests.accepting import Inlet, interval
from subscriptions.models import Delivery, Endpoint, Message, MessageDevice
from subscriptions.tests.delivering import make_endpoint
from tenants.database import acting_for
from tenants.models import Tenant

URL = "https://subscriber.example/hook"
AT = "2016-06-01T10:00:00Z"
GAS, WATER = "7-0:3.0.0", "8-0:1.0.0"


def listening(tenant: Tenant, **filters: list[str]) -> Endpoint:
    return make_endpoint(tenant, URL, filters=filters)[0]


def heard(endpoint: Endpoint) -> list[str]:
    with acting_for(endpoint.tenant):
        rows = Delivery.objects.filter(tenant=endpoint.tenant, endpoint=endpoint)
        return sorted(rows.values_list("event_type", flat=True))


def two(lane: Inlet, value: str = "1") -> Any:
    """A callback of a gas meter and a water meter."""
    return lane.settle(
        [
            interval(AT, value, device="GM-1", channel=GAS, unit="m3"),
            interval(AT, value, device="WM-1", channel=WATER, unit="m3"),
        ]
    )


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"devices": ["GM-1"]}, ["callback.processed", "device.registered"]),
        ({"channels": [GAS]}, ["callback.processed"]),
        ({"commodities": ["water"]}, ["callback.processed"]),
        ({"commodities": ["water"], "devices": ["GM-1"]}, []),
        ({"commodities": ["heat"]}, []),
    ],
)
def test_callback_is_heard_of_by_what_it_has_readings_of(
    tenant: Tenant, lane: Inlet, filters: dict[str, list[str]], expected: list[str]
) -> None:
    endpoint = listening(tenant, **filters)
    two(lane)
    assert heard(endpoint) == expected


def test_callback_is_heard_of_by_its_source(tenant: Tenant, lane: Inlet) -> None:
    mine = listening(tenant, sources=[lane.source.public_id])
    other = listening(tenant, sources=["src_" + "0" * 32])
    two(lane)
    assert heard(mine) == ["callback.processed", *["device.registered"] * 2]
    assert heard(other) == []


def test_correction_is_about_what_was_corrected_alone(
    tenant: Tenant, lane: Inlet
) -> None:
    two(lane)
    gas, water = (listening(tenant, channels=[code]) for code in (GAS, WATER))
    lane.settle(
        [
            interval(AT, "2", device="GM-1", channel=GAS, unit="m3"),
            interval(AT, "1", device="WM-1", channel=WATER, unit="m3"),
        ]
    )
    assert heard(gas) == ["callback.processed", "reading.corrected"]
    assert heard(water) == ["callback.processed"]


def test_commodity_that_an_admin_set_is_the_one_that_counts(
    tenant: Tenant, lane: Inlet
) -> None:
    lane.settle([interval(AT, "1", channel="main")])
    with acting_for(tenant):
        Channel.objects.filter(tenant=tenant).update(commodity="heat")
    # As a worker that has not seen the channel for 10 seconds.
    batch._memory.forget()
    from_now_on = listening(tenant, commodities=["heat"])
    lane.settle([interval("2016-06-01T11:00:00Z", "1", channel="main")])
    assert heard(from_now_on) == ["callback.processed"]


def test_rejected_callback_is_about_the_devices_that_it_names(
    tenant: Tenant, lane: Inlet
) -> None:
    lane.settle([interval(AT, "1", unit="kWh")])
    endpoint = listening(tenant, devices=["WM-1"])
    lane.settle([interval("2016-06-01T11:00:00Z", "1", unit="m3")])
    lane.settle(b"[]")
    assert heard(endpoint) == ["callback.rejected"]


def test_messages_are_found_by_callback_and_device(tenant: Tenant, lane: Inlet) -> None:
    listening(tenant)
    callback = two(lane)
    with acting_for(tenant):
        messages = Message.objects.filter(tenant=tenant, receipt_id=callback.id)
        assert messages.count() == 3
        rows = MessageDevice.objects.filter(tenant=tenant, device="GM-1")
        kinds = messages.filter(pk__in=rows.values("message_id"))
        assert sorted(kinds.values_list("event_type", flat=True)) == [
            "callback.processed",
            "device.registered",
        ]


def test_large_callback_is_about_the_devices_of_all_its_chunks(
    tenant: Tenant, lane: Inlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 10)
    monkeypatch.setattr(claims, "LARGE_BYTES", 1_000)
    endpoint = listening(tenant, devices=["first"], commodities=["gas"])
    others = [interval(AT, "1", device=f"WM-{number}") for number in range(30)]
    lane.settle([interval(AT, "1", device="first", channel=GAS), *others])
    assert heard(endpoint) == ["callback.processed"]
