"""Thresholds of a day's usage: set, passed, told of once."""

import json
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from ingest.models import Channel, ThresholdCrossing
from ingest.tests.accepting import Inlet, drain, interval
from subscriptions.models import Delivery, Message
from subscriptions.tests.calling import Caller, code, in_role
from subscriptions.tests.delivering import make_endpoint
from tenants.database import acting_for
from tenants.models import AuditEntry, Role, Tenant
from tenants.services import NewTenant
from tests.visitors import visitor

URL = "https://subscriber.example/hook"
NOON = "2016-06-01T10:00:00Z"


@pytest.fixture
def owner(new_tenant: NewTenant) -> Caller:
    return Caller(new_tenant.api_key)


@pytest.fixture
def channel(tenant: Tenant, lane: Inlet) -> Channel:
    """A channel with 1 kWh on 1 June 2016, and somebody who listens."""
    lane.settle([interval(NOON, "1", channel="1-0:1.8.0")])
    make_endpoint(tenant, URL, event_types=["usage.*"])
    with acting_for(tenant):
        return Channel.objects.select_related("device").get(tenant=tenant)


def told(tenant: Tenant) -> list[dict[str, Any]]:
    with acting_for(tenant):
        rows = Message.objects.filter(tenant=tenant).order_by("id")
        return [json.loads(bytes(row.body)) for row in rows]


def set_threshold(caller: Caller, channel: Channel, value: object) -> Any:
    path = f"/channels/{channel.pk}/"
    return caller.ask("PATCH", path, {"daily_threshold": value})


def use(lane: Inlet, at: str, value: str) -> None:
    lane.settle([interval(at, value, channel="1-0:1.8.0")])


def test_day_that_passes_its_threshold_is_told_of_once(
    tenant: Tenant, owner: Caller, lane: Inlet, channel: Channel
) -> None:
    shown = set_threshold(owner, channel, "2.50").json()
    assert shown["daily_threshold"] == "2.5"
    use(lane, "2016-06-01T11:00:00Z", "1.5")
    assert told(tenant) == [], "2.5 is not above 2.5"
    use(lane, "2016-06-01T12:00:00Z", "0.0001")
    use(lane, "2016-06-01T13:00:00Z", "9")
    (message,) = told(tenant)
    assert message["data"] == {
        "device": "WM-1",
        "channel": "1-0:1.8.0",
        "kind": "interval",
        "commodity": "electricity",
        "day": "2016-06-01",
        "value": "2.5001",
        "threshold": "2.5",
        "unit": "kWh",
    }
    with acting_for(tenant):
        assert Delivery.objects.get(tenant=tenant).lane == 0
        assert ThresholdCrossing.objects.get(tenant=tenant).value == Decimal("2.5001")


def test_each_local_day_is_told_of_by_itself(
    tenant: Tenant, owner: Caller, lane: Inlet, channel: Channel
) -> None:
    set_threshold(owner, channel, "2")
    # Brussels is two hours ahead: the second reading is of 2 June there.
    use(lane, "2016-06-01T11:00:00Z", "5")
    use(lane, "2016-06-01T22:00:00Z", "5")
    assert [one["data"]["day"] for one in told(tenant)] == ["2016-06-01", "2016-06-02"]


def test_day_stays_told_of_when_it_falls_and_passes_again(
    tenant: Tenant, owner: Caller, lane: Inlet, channel: Channel
) -> None:
    set_threshold(owner, channel, "2")
    for value in ("5", "0", "6"):
        use(lane, "2016-06-01T11:00:00Z", value)
    assert [one["data"]["value"] for one in told(tenant)] == ["6"]


def test_channel_without_a_threshold_is_no_news(
    tenant: Tenant, owner: Caller, lane: Inlet, channel: Channel
) -> None:
    set_threshold(owner, channel, "2")
    assert set_threshold(owner, channel, None).json()["daily_threshold"] is None
    use(lane, "2016-06-01T11:00:00Z", "5000")
    assert told(tenant) == []


def test_event_passes_the_filters_of_its_channel(
    tenant: Tenant, owner: Caller, lane: Inlet, channel: Channel
) -> None:
    wanted = {"devices": ["WM-*"], "commodities": ["electricity"]}
    right, _ = make_endpoint(tenant, URL, filters=wanted)
    make_endpoint(tenant, URL, filters={"channels": ["other"]})
    set_threshold(owner, channel, "2")
    use(lane, "2016-06-01T11:00:00Z", "5")
    with acting_for(tenant):
        heard = Delivery.objects.filter(
            tenant=tenant, event_type="usage.threshold_exceeded"
        )
        assert heard.filter(endpoint=right).count() == 1
        assert heard.count() == 2, "and the one that does not filter"


def test_setting_it_is_in_the_audit_trail(
    tenant: Tenant, owner: Caller, channel: Channel
) -> None:
    set_threshold(owner, channel, "2")
    set_threshold(owner, channel, "2.0")
    with acting_for(tenant):
        (entry,) = AuditEntry.objects.filter(action="channel.threshold_set")
    assert entry.subject == "WM-1"
    assert entry.detail == {
        "channel": "1-0:1.8.0",
        "kind": "interval",
        "from": None,
        "to": "2",
    }


@pytest.mark.parametrize("value", ["-1", "1e39", "0." + "0" * 20 + "1", "1" * 39])
def test_threshold_that_no_day_has_is_refused(
    owner: Caller, channel: Channel, value: str
) -> None:
    refused = code(set_threshold(owner, channel, value))
    assert refused == (400, "daily_threshold_invalid")
    shown = owner.get(f"/channels/{channel.pk}/").json()
    assert shown["daily_threshold"] is None


@pytest.mark.parametrize("value", ["NaN", "much", [], {}])
def test_threshold_that_is_no_number_is_refused(
    owner: Caller, channel: Channel, value: object
) -> None:
    assert code(set_threshold(owner, channel, value)) == (400, "invalid")


def test_refused_threshold_leaves_the_rest_of_the_change_undone(
    owner: Caller, channel: Channel
) -> None:
    path = f"/channels/{channel.pk}/"
    change = {"expected_interval_s": 3600, "daily_threshold": "-1"}
    assert code(owner.ask("PATCH", path, change))[0] == 400
    assert owner.get(path).json()["expected_interval_s"] is None


def test_channel_whose_values_do_not_add_up_takes_none(
    tenant: Tenant, owner: Caller, lane: Inlet
) -> None:
    lane.settle([interval(NOON, "1", unit="kW")])
    with acting_for(tenant):
        power = Channel.objects.get(tenant=tenant)
    assert code(set_threshold(owner, power, "2")) == (400, "daily_threshold_invalid")


def test_others_may_not_set_it(
    tenant: Tenant, channel: Channel, stranger: NewTenant
) -> None:
    assert code(set_threshold(Caller(stranger.api_key), channel, "2"))[0] == 404
    assert code(set_threshold(in_role(tenant, Role.AUDITOR), channel, "2"))[0] == 403


def test_admin_sets_it_in_the_console(tenant: Tenant, channel: Channel) -> None:
    page = reverse("admin:ingest_channel_threshold", args=[channel.pk])
    admin, clerk = (visitor(tenant, role) for role in (Role.ADMIN, Role.CLERK))
    assert Client().get(page).status_code == 302
    assert clerk.post(page, {"daily_threshold": "7"}).status_code == 403
    assert admin.post(page, {"daily_threshold": "-7"}).status_code == 200
    assert admin.post(page, {"daily_threshold": "7.50"}).status_code == 302
    shown = admin.get(reverse("admin:ingest_channel_change", args=[channel.pk]))
    assert "7.5 kWh" in shown.content.decode()
    drain()
