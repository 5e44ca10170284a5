"""Devices, channels and readings over the API."""

from typing import Any

import pytest

from ingest.models import CallbackState
from ingest.tests.accepting import Inlet, inlet, interval, register
from subscriptions.tests.calling import Caller, code, in_role
from tenants.database import acting_for
from tenants.models import AuditEntry, Role, Tenant
from tenants.services import NewTenant


@pytest.fixture
def owner(new_tenant: NewTenant) -> Caller:
    return Caller(new_tenant.api_key)


@pytest.fixture
def outsider(stranger: NewTenant) -> Caller:
    return Caller(stranger.api_key)


def results(reply: Any) -> list[dict[str, Any]]:
    assert reply.status_code == 200, reply.content
    rows: list[dict[str, Any]] = reply.json()["results"]
    return rows


def test_a_quarantined_device_is_approved_and_quarantined_again(
    tenant: Tenant, owner: Caller
) -> None:
    lane = inlet(tenant, is_open=False)
    lane.settle([interval("2016-01-01T00:00:00Z")])
    (device,) = results(owner.get("/devices/?status=quarantined"))
    assert (device["name"], device["source"]) == ("WM-1", lane.source.public_id)
    path = f"/devices/{device['id']}/"
    assert owner.post(f"{path}approve/").json()["status"] == "active"
    assert results(owner.get("/devices/?status=quarantined")) == []
    taken = lane.settle([interval("2016-01-01T00:00:00Z")])
    assert taken.state == CallbackState.PROCESSED
    assert owner.post(f"{path}quarantine/").json()["status"] == "quarantined"
    assert owner.post(f"{path}quarantine/").status_code == 200
    with acting_for(tenant):
        trail = AuditEntry.objects.filter(action__startswith="device.")
        assert [entry.action for entry in trail.order_by("id")] == [
            "device.approved",
            "device.quarantined",
        ]


def test_channels_are_listed_by_device_and_named_by_people(
    tenant: Tenant, lane: Inlet, owner: Caller
) -> None:
    lane.settle([interval("2016-01-01T00:00:00Z")])
    lane.settle([interval("2016-01-01T00:00:00Z", unit="l")], device="WM-2")
    (channel,) = results(owner.get("/channels/?device=WM-2"))
    assert (channel["channel"], channel["unit"]) == ("main", "m3")
    assert (channel["kind"], channel["commodity"]) == ("interval", "unknown")
    path = f"/channels/{channel['id']}/"
    changed = owner.ask("PATCH", path, {"commodity": "water"})
    assert changed.json()["commodity"] == "water"
    assert code(owner.ask("PATCH", path, {"commodity": "Röhre"})) == (400, "invalid")
    assert len(results(owner.get("/channels/"))) == 2
    with acting_for(tenant):
        entry = AuditEntry.objects.get(action="channel.commodity_set")
    assert entry.detail == {"channel": "main", "from": "unknown", "to": "water"}


def test_readings_come_by_time_page_by_page_with_their_receipts(
    lane: Inlet, owner: Caller
) -> None:
    row = lane.settle(
        [
            *[
                interval(f"2016-01-01T{hour:02}:00:00+01:00", "0.5")
                for hour in range(5)
            ],
            register("2016-01-01T02:30:00Z", "7", channel="r"),
            {"at": "2016-01-01T05:00:00+01:00", "duration_s": 60, "quality": "N"},
        ]
    )
    path: str | None = "/readings/?device=WM-1&page_size=3"
    found: list[dict[str, Any]] = []
    while path:
        page = owner.get(path).json()
        found += page["results"]
        path = page["next"]
    assert [one["start_at"][11:16] for one in found] == [
        *("23:00", "00:00", "01:00", "02:00", "02:30", "03:00", "04:00")
    ]
    assert found[0] == {
        "device": "WM-1",
        "channel": "main",
        "kind": "interval",
        "start_at": "2015-12-31T23:00:00Z",
        "duration_s": 3600,
        "value": "0.5",
        "unit": "kWh",
        "quality": "A",
        "callback": row.public_id,
    }
    assert (found[4]["kind"], found[4]["duration_s"]) == ("register", 0)
    assert (found[-1]["value"], found[-1]["quality"]) == (None, "N")


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("from=2016-01-01", 4),
        ("from=2016-01-02", 2),
        ("to=2016-01-02", 2),
        ("from=2016-01-02&to=2016-01-03", 2),
        ("from=2016-01-01T23:00:00Z", 2),
        # An offset whose plus sign was not escaped.
        ("from=2016-01-02T00:00:00+01:00", 2),
        ("from=2016-01-02T00:00:00.000001%2B01:00", 1),
        # An offset that Postgres does not read.
        ("from=2016-01-02T22:27:00%2B22:27", 1),
    ],
)
def test_dates_are_local_days_and_periods_half_open(
    lane: Inlet, owner: Caller, query: str, count: int
) -> None:
    lane.settle(
        [
            interval(at)
            for at in (
                "2016-01-01T00:00:00+01:00",
                "2016-01-01T23:00:00+01:00",
                "2016-01-02T00:00:00+01:00",
                "2016-01-02T23:00:00+01:00",
            )
        ]
    )
    found = results(owner.get(f"/readings/?device=WM-1&channel=main&{query}"))
    assert len(found) == count


@pytest.mark.parametrize(
    ("query", "status", "problem"),
    [
        ("", 400, "parameter_invalid"),
        ("device=WM-1&from=yesterday", 400, "parameter_invalid"),
        ("device=WM-1&from=2016-13-01", 400, "parameter_invalid"),
        ("device=WM-1&to=2016-01-01T00:00:00", 400, "parameter_invalid"),
        ("device=WM-1&to=0001-01-01T00:00:00%2B23:00", 400, "parameter_invalid"),
        ("device=%00", 400, "parameter_invalid"),
        ("device=WM-9", 404, "channel_unknown"),
        ("device=WM-1&channel=no", 404, "channel_unknown"),
    ],
)
def test_a_question_that_cannot_be_read_is_told_which_part(
    lane: Inlet, owner: Caller, query: str, status: int, problem: str
) -> None:
    lane.settle([interval("2016-01-01T00:00:00Z")])
    reply = owner.get(f"/readings/?{query}")
    assert code(reply) == (status, problem)
    if status == 400:
        name = query.rpartition("&")[2].partition("=")[0] or "device"
        assert reply.json()["detail"].startswith(f"{name}: ")


def test_another_tenant_sees_no_device_channel_or_reading(
    lane: Inlet, owner: Caller, outsider: Caller
) -> None:
    lane.settle([interval("2016-01-01T00:00:00Z")])
    (device,) = results(owner.get("/devices/"))
    (channel,) = results(owner.get("/channels/"))
    assert results(outsider.get("/devices/")) == []
    assert results(outsider.get("/channels/?device=WM-1")) == []
    for method, path in (
        ("GET", f"/devices/{device['id']}/"),
        ("POST", f"/devices/{device['id']}/approve/"),
        ("POST", f"/devices/{device['id']}/quarantine/"),
        ("GET", f"/channels/{channel['id']}/"),
        ("PATCH", f"/channels/{channel['id']}/"),
        ("GET", "/readings/?device=WM-1"),
        ("GET", "/usage/?device=WM-1"),
    ):
        body = {"commodity": "gas"} if method == "PATCH" else None
        assert outsider.ask(method, path, body).status_code == 404, path
    assert results(owner.get("/devices/"))[0]["status"] == "active"


@pytest.mark.parametrize("role", [Role.CLERK, Role.AUDITOR])
def test_other_roles_read_devices_and_change_none(
    tenant: Tenant, lane: Inlet, owner: Caller, role: Role
) -> None:
    lane.settle([interval("2016-01-01T00:00:00Z")])
    (device,) = results(owner.get("/devices/"))
    (channel,) = results(owner.get("/channels/"))
    caller = in_role(tenant, role)
    assert len(results(caller.get("/readings/?device=WM-1"))) == 1
    assert caller.get(f"/devices/{device['id']}/").status_code == 200
    for method, path in (
        ("POST", f"/devices/{device['id']}/approve/"),
        ("POST", f"/devices/{device['id']}/quarantine/"),
        ("PATCH", f"/channels/{channel['id']}/"),
    ):
        assert caller.ask(method, path, {"commodity": "gas"}).status_code == 403


def test_nobody_asks_without_a_key() -> None:
    for path in ("/devices/", "/channels/", "/readings/?device=x", "/usage/?device=x"):
        assert Caller("").get(path).status_code == 401
