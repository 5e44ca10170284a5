"""What the API shows of a delivery's way, and what can be asked of an endpoint."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from subscriptions.models import Delivery
from subscriptions.services.delivering.sending import deliver
from subscriptions.tests.calling import Caller, code, register
from subscriptions.tests.delivering import deliver_until, make_endpoint, publish_to
from subscriptions.tests.receivers import Received, Reply, receiving
from tenants.database import acting_for
from tenants.models import Tenant
from tenants.services import NewTenant

SECRET = "s3cr3t-value"  # noqa: S105 (nobody's)


@pytest.fixture
def owner(new_tenant: NewTenant) -> Caller:
    return Caller(new_tenant.api_key)


def refusing(_: Received) -> Reply:
    headers = {"X-Trace": "t-1", "Set-Cookie": f"id={SECRET}"}
    return Reply(500, b"<b>out of order</b>", headers)


def test_attempt_shows_its_request_and_its_answer_and_no_secret(
    tenant: Tenant, owner: Caller
) -> None:
    with receiving(refusing) as receiver:
        endpoint, secret = make_endpoint(tenant, receiver.url)
        path = f"/endpoints/{endpoint.public_id}/"
        owner.ask("PATCH", path, {"headers": {"X-Api-Key": SECRET}})
        delivery = owner.post(f"{path}test/").json()
        deliver()
    (sent,) = receiver.posts()
    assert sent.headers["x-api-key"] == SECRET
    reply = owner.get(f"/deliveries/{delivery['id']}/")
    (attempt,) = reply.json()["attempts"]
    assert attempt["url"] == receiver.url
    assert attempt["request"]["line"] == f"POST {receiver.url}"
    shown = {one["name"]: one["value"] for one in attempt["request"]["headers"]}
    assert shown["webhook-id"] == delivery["message"]
    assert shown["webhook-timestamp"] == sent.headers["webhook-timestamp"]
    assert set(shown) >= {"webhook-signature", "X-Hub-Signature-256", "X-Api-Key"}
    assert attempt["response"]["line"] == "HTTP/1.1 500 Internal Server Error"
    assert "X-Trace: t-1" in attempt["response"]["headers"]
    assert attempt["response"]["excerpt"] == "<b>out of order</b>"
    text = reply.content.decode()
    signatures = sent.headers["webhook-signature"].split(",")[1]
    for hidden in (SECRET, secret, signatures):
        assert hidden not in text


def test_health_counts_what_was_tried_and_what_waits(
    tenant: Tenant, owner: Caller
) -> None:
    with receiving() as receiver:
        endpoint, _ = make_endpoint(tenant, receiver.url)
        publish_to(tenant, 3)
        deliver_until(tenant, "delivered")
    path = f"/endpoints/{endpoint.public_id}/"
    owner.post(f"{path}pause/")
    publish_to(tenant, 2)
    found = owner.get(f"{path}health/").json()
    assert (found["attempts"], found["success_rate"]) == (3, 1.0)
    assert (found["waiting"], found["dead"]) == (2, 0)
    assert found["p95_ms"] >= found["p50_ms"] >= 0
    undelivered = owner.get("/deliveries/undelivered/").json()
    assert undelivered["needs_action"] is True
    (held,) = undelivered["held"]
    assert (held["endpoint"], held["count"]) == (endpoint.public_id, 2)
    assert held["why"][0]["advice"]


def test_portal_link_is_shown_once_and_revoked(owner: Caller) -> None:
    path = f"/endpoints/{register(owner)['id']}/portal-links/"
    made = owner.post(path, {"note": "Ann", "lifetime_s": 900}).json()
    assert "/portal/ghl_" in made["url"]
    (listed,) = owner.get(path).json()["results"]
    assert listed == {name: made[name] for name in made if name != "url"}
    assert owner.ask("DELETE", f"{path}{made['id']}/").status_code == 204
    assert owner.get(path).json()["results"] == []
    assert owner.ask("DELETE", f"{path}{made['id']}/").status_code == 404
    for wrong in ({"lifetime_s": 899}, {"lifetime_s": 604_801}, {"note": "x" * 201}):
        assert code(owner.post(path, wrong)) == (400, "invalid")


def test_replay_sends_the_same_bytes_under_the_same_ids(
    tenant: Tenant, owner: Caller
) -> None:
    with receiving() as receiver:
        endpoint, _ = make_endpoint(tenant, receiver.url)
        publish_to(tenant, 2)
        deliver_until(tenant, "delivered")
        bodies = sorted(one.body for one in receiver.posts())
        ids = [json.loads(body)["id"] for body in bodies]
        path = f"/endpoints/{endpoint.public_id}/replay/"
        unknown = f"msg_{'0' * 32}"
        resent = owner.post(path, {"message_ids": [*ids, unknown]})
        assert resent.status_code == 202
        assert (resent.json()["requeued"], resent.json()["unknown"]) == (2, [unknown])
        deliver_until(tenant, "delivered")
    again = sorted(one.body for one in receiver.posts())
    assert again == sorted(bodies * 2)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, "invalid"),
        ({"message_ids": []}, "invalid"),
        ({"message_ids": ["msg_1"]}, "invalid"),
        ({"message_ids": ["x"] * 1001}, "invalid"),
        ({"since": "2001-01-01T00:00:00Z"}, "period_out_of_reach"),
        ({"since": "2999-01-01T00:00:00Z"}, "period_out_of_reach"),
        ({"since": "soon"}, "invalid"),
    ],
)
def test_replay_of_what_cannot_be_is_refused(
    owner: Caller, body: Any, expected: str
) -> None:
    path = f"/endpoints/{register(owner)['id']}/replay/"
    assert code(owner.post(path, body)) == (400, expected)


def test_redelivery_is_listed_followed_and_cancelled(
    tenant: Tenant, owner: Caller
) -> None:
    made = register(owner)
    owner.post(f"/endpoints/{made['id']}/test/")
    now = datetime.now(tz=UTC)
    with acting_for(tenant):
        Delivery.objects.filter(tenant=tenant).update(
            status="delivered", finished_at=now
        )
    body = {"since": (now - timedelta(days=1)).isoformat(), "rate_per_s": 5}
    started = owner.post(f"/endpoints/{made['id']}/replay/", body).json()
    assert (started["kind"], started["status"]) == ("replay", "running")
    query = f"endpoint={made['id']}&kind=replay&status=running"
    (listed,) = owner.get(f"/redeliveries/?{query}").json()["results"]
    assert (listed["id"], listed["total"]) == (started["id"], 1)
    assert (listed["rate_per_s"], listed["endpoint"]) == (5, made["id"])
    again = owner.post(f"/endpoints/{made['id']}/replay/", body)
    assert code(again) == (409, "redelivery_running")
    path = f"/redeliveries/{started['id']}/"
    assert owner.post(f"{path}cancel/").json()["status"] == "cancelled"
    assert code(owner.post(f"{path}cancel/")) == (409, "redelivery_ended")
    assert owner.get(path).json()["caught_up_at"] is None


def test_discarding_needs_a_reason_and_is_final(owner: Caller) -> None:
    made = register(owner)
    delivery = owner.post(f"/endpoints/{made['id']}/test/").json()
    path = f"/deliveries/{delivery['id']}/discard/"
    assert code(owner.post(path, {})) == (400, "invalid")
    shown = owner.post(path, {"reason": "superseded"}).json()
    assert (shown["status"], shown["cancel_reason"]) == ("cancelled", "superseded")
    assert code(owner.post(path, {"reason": "again"})) == (409, "delivery_ended")
    discarded = owner.post(f"/endpoints/{made['id']}/discard-dead/", {"reason": "x"})
    assert discarded.json() == {"discarded": 0}


def test_device_groups_are_made_changed_and_kept_while_in_use(owner: Caller) -> None:
    names = {"name": "north", "devices": ["WM-2", "WM-1"]}
    group = owner.post("/device-groups/", names).json()
    assert (group["size"], group["devices"]) == (2, ["WM-1", "WM-2"])
    assert code(owner.post("/device-groups/", names)) == (
        409,
        "device_group_name_taken",
    )
    path = f"/device-groups/{group['id']}/"
    made = register(owner)
    filters = {"filters": {"device_groups": ["north"]}}
    kept = owner.ask("PATCH", f"/endpoints/{made['id']}/", filters)
    assert kept.json()["filters"] == filters["filters"]
    assert code(owner.ask("DELETE", path)) == (409, "device_group_in_use")
    changed = owner.ask("PATCH", path, {"devices": ["WM-*"]}).json()
    assert (changed["name"], changed["devices"]) == ("north", ["WM-*"])
    with CaptureQueriesContext(connection) as captured:
        (listed,) = owner.get("/device-groups/?name=north").json()["results"]
    assert (listed["size"], "devices" in listed) == (1, False)
    assert not any('"devices", "' in one["sql"] for one in captured), "they stay there"
    owner.ask("DELETE", f"/endpoints/{made['id']}/")
    assert owner.ask("DELETE", path).status_code == 204


def test_same_post_with_an_idempotency_key_is_carried_out_once(
    owner: Caller,
) -> None:
    path = f"/endpoints/{register(owner)['id']}/windows/"
    now = datetime.now(tz=UTC)
    body = {
        "start_at": now.isoformat(),
        "end_at": (now + timedelta(hours=1)).isoformat(),
    }
    once = {"Idempotency-Key": "w-1"}
    replies = [owner.ask("POST", path, body, **once) for _ in range(2)]
    assert replies[0].json() == replies[1].json()
    assert len(owner.get(path).json()["results"]) == 1
