"""Manifests: what each day had for an endpoint, told once and to it alone."""

import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import jsonschema_rs
import pytest

from conftest import make_tenant
from subscriptions.catalogue import CATALOGUE
from subscriptions.models import Delivery, Endpoint, Manifest
from subscriptions.queries.manifests import (
    deliveries_of_manifest,
    manifest_of,
    manifests_of,
)
from subscriptions.services import manifests
from subscriptions.services.manifests import send_manifests
from subscriptions.tests.delivering import make_endpoint
from subscriptions.tests.history import write_history
from tenants.database import acting_for, database_clock, pipeline
from tenants.identifiers import public_id
from tenants.models import Tenant
from tenants.services import NewTenant

#: In Brussels: days of 25, of 24 and of 23 hours.
LONG, PLAIN, SHORT = date(2025, 10, 26), date(2026, 1, 15), date(2026, 3, 29)
LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def far_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a manifest be due that is older than a week, and none of another test."""
    monkeypatch.setattr(manifests, "CATCH_UP_DAYS", 5_000)
    with pipeline() as lane:
        lane.execute("UPDATE subscriptions_endpoint SET has_manifest = false")


def make(tenant: Tenant, told_until: date | None, **fields: Any) -> Endpoint:
    endpoint, _ = make_endpoint(
        tenant,
        "http://127.0.0.1:9/hook",
        has_manifest=True,
        manifest_until=told_until,
        **{"created_at": LONG_AGO, **fields},
    )
    return endpoint


def send_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "TURN_S", -1)
    assert send_manifests() is True


def told(endpoint: Endpoint) -> list[dict[str, Any]]:
    """The manifests among the endpoint's messages, each as its schema has it."""
    schema = CATALOGUE["delivery.manifest"].schema
    with acting_for(endpoint.tenant_id):
        rows = Delivery.objects.filter(
            tenant=endpoint.tenant_id,
            endpoint=endpoint,
            event_type="delivery.manifest",
        ).select_related("message")
        found = [json.loads(bytes(row.message.body)) for row in rows.order_by("id")]
    for one in found:
        jsonschema_rs.validate(schema, one["data"])
    return [one["data"] for one in found]


def ids_hash(ids: list[UUID]) -> str:
    return hashlib.sha256(
        "\n".join(sorted(public_id("msg", one) for one in ids)).encode()
    ).hexdigest()


@pytest.mark.parametrize(("day", "hours"), [(LONG, 25), (PLAIN, 24), (SHORT, 23)])
def test_a_manifest_tells_of_the_whole_local_day(
    tenant: Tenant, day: date, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = make(tenant, day - timedelta(days=1))
    start = datetime(day.year, day.month, day.day, tzinfo=tenant.zone).astimezone(UTC)
    end = start + timedelta(hours=hours)
    mine = [
        *write_history(endpoint, start, status="delivered", devices=["b", "a"]),
        *write_history(endpoint, start + timedelta(hours=12), devices=["b"]),
        *write_history(endpoint, end - timedelta(milliseconds=1), status="cancelled"),
    ]
    write_history(endpoint, start - timedelta(milliseconds=1), devices=["a"])
    write_history(endpoint, end, status="delivered", devices=["a"])
    send_one(monkeypatch)
    (manifest,) = told(endpoint)
    assert manifest == {
        "endpoint": endpoint.public_id,
        "day": day.isoformat(),
        "zone": "Europe/Brussels",
        "start_at": f"{start:%Y-%m-%dT%H:%M:%SZ}",
        "end_at": f"{end:%Y-%m-%dT%H:%M:%SZ}",
        "messages": 3,
        "ids_hash": ids_hash(mine),
        "device_count": 2,
        "devices": [
            {"device": "a", "messages": 1, "ids_hash": ids_hash(mine[:1])},
            {"device": "b", "messages": 2, "ids_hash": ids_hash(mine[:2])},
        ],
    }
    with acting_for(tenant):
        kept = manifest_of(tenant, endpoint, day)
        assert kept is not None
        assert (kept.messages, kept.ids_hash) == (3, manifest["ids_hash"])
        listed = deliveries_of_manifest(tenant, kept)
        assert [one.message_id for one in listed] == sorted(mine)
        about = deliveries_of_manifest(tenant, kept, device="a")
        assert [one.message_id for one in about] == mine[:1]


def test_a_day_whose_midnight_comes_twice_is_told_when_it_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # In the Azores summer time ends at 01:00, which is 00:00 again.
    owner = make_tenant("Atlantic/Azores").tenant
    endpoint = make(owner, date(2025, 10, 24))
    over_at = datetime(2025, 10, 26, 1, tzinfo=UTC)
    for minutes, days in ((-54, []), (6, ["2025-10-25"])):
        wanted = over_at + timedelta(minutes=minutes)
        grace_s = (database_clock() - wanted).total_seconds()
        monkeypatch.setattr(manifests, "GRACE_S", grace_s)
        assert send_manifests() is False
        assert [one["day"] for one in told(endpoint)] == days
    assert told(endpoint)[0]["start_at"] == "2025-10-25T00:00:00Z"
    assert told(endpoint)[0]["end_at"] == "2025-10-26T01:00:00Z"


def test_a_day_without_messages_is_told_too(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = make(tenant, PLAIN - timedelta(days=1))
    send_one(monkeypatch)
    (manifest,) = told(endpoint)
    assert (manifest["messages"], manifest["devices"]) == (0, [])
    assert manifest["ids_hash"] == hashlib.sha256(b"").hexdigest()


def test_pages_make_no_difference(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = make(tenant, PLAIN - timedelta(days=1))
    noon = datetime(PLAIN.year, PLAIN.month, PLAIN.day, 12, tzinfo=UTC)
    ids = [
        one
        for number in range(6)
        for one in write_history(
            endpoint, noon, count=2, status="delivered", devices=[f"d{number}"]
        )
    ]
    for name, size in (("PAGE", 3), ("DEVICE_PAGE", 2), ("DEVICES_LISTED", 5)):
        monkeypatch.setattr(manifests, name, size)
    send_one(monkeypatch)
    (manifest,) = told(endpoint)
    assert (manifest["messages"], manifest["ids_hash"]) == (12, ids_hash(ids))
    assert manifest["device_count"] == 6
    assert [one["device"] for one in manifest["devices"]] == [f"d{n}" for n in range(5)]
    assert manifest["devices"][4]["ids_hash"] == ids_hash(ids[8:10])


def test_a_manifest_is_published_once_to_its_endpoint_alone(
    tenant: Tenant, stranger: NewTenant
) -> None:
    yesterday = day_ago(tenant)
    endpoint = make(tenant, yesterday - timedelta(days=1))
    neighbour, _ = make_endpoint(tenant, "http://127.0.0.1:9/other")
    theirs, _ = make_endpoint(stranger.tenant, "http://127.0.0.1:9/theirs")
    assert send_manifests() is False
    assert send_manifests() is False
    assert len(told(endpoint)) == 1
    assert told(neighbour) == told(theirs) == []
    with acting_for(stranger.tenant):
        assert not Manifest.objects.exists()


def day_ago(tenant: Tenant, days: int = 1) -> date:
    """The local day so many days ago, by the database's clock."""
    with pipeline() as lane:
        row = lane.execute(
            """SELECT (now() - interval '5 min') AT TIME ZONE %s""", [tenant.timezone]
        ).fetchone()
    assert row is not None
    today: date = row[0].date()
    return today - timedelta(days=days)


def test_missed_days_are_caught_up_with_in_order_a_week_at_most(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "CATCH_UP_DAYS", 7)
    first = day_ago(tenant, days=7)
    endpoint = make(tenant, first - timedelta(days=20))
    assert send_manifests() is False
    days = [first + timedelta(days=number) for number in range(7)]
    assert [one["day"] for one in told(endpoint)] == [day.isoformat() for day in days]
    with acting_for(tenant):
        kept = manifests_of(tenant, endpoint)
        assert [one.day_date for one in kept] == days[::-1]
        endpoint.refresh_from_db()
    assert endpoint.manifest_until == day_ago(tenant)


def test_the_first_manifest_is_of_the_day_that_has_just_ended(tenant: Tenant) -> None:
    yesterday = day_ago(tenant)
    old, new = make(tenant, None), make(tenant, None, created_at=datetime.now(tz=UTC))
    off = make(tenant, None, deleted_at=datetime.now(tz=UTC))
    send_manifests()
    assert [one["day"] for one in told(old)] == [yesterday.isoformat()]
    assert told(new) == told(off) == []


def test_two_workers_tell_of_a_day_once(tenant: Tenant) -> None:
    endpoint = make(tenant, PLAIN - timedelta(days=1))
    day = manifests._due()
    assert day is not None
    contents = manifests._contents(day)
    assert manifests._publish(day, contents) == 1
    assert manifests._publish(day, contents) == 0
    assert len(told(endpoint)) == 1


def test_a_day_ends_by_the_tenants_own_clock() -> None:
    east, west = make_tenant("Pacific/Kiritimati"), make_tenant("Pacific/Niue")
    days = []
    for one in (east.tenant, west.tenant):
        yesterday = day_ago(one)
        endpoint = make(one, yesterday - timedelta(days=1))
        send_manifests()
        days.append((told(endpoint)[0]["day"], yesterday.isoformat()))
    assert days[0][0] == days[0][1] > days[1][0] == days[1][1]
