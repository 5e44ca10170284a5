"""The API of endpoints, messages and deliveries, as each caller sees it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import override_settings
from standardwebhooks.webhooks import Webhook

from subscriptions.catalogue import CATALOGUE
from subscriptions.models import Delivery, Endpoint, EndpointSecret
from subscriptions.services.consenting import ask_consent
from subscriptions.services.delivering.sending import deliver
from subscriptions.services.orphans import cancel_orphans
from subscriptions.services.redelivering import redeliver
from subscriptions.tests.calling import URL, Caller, code, register
from subscriptions.tests.delivering import (
    deliver_until,
    deliveries,
    make_endpoint,
    publish_to,
)
from subscriptions.tests.receivers import Reply, consenting, receiving
from tenants.database import acting_for
from tenants.models import AuditEntry, Tenant
from tenants.services import NewTenant


@pytest.fixture
def owner(new_tenant: NewTenant) -> Caller:
    return Caller(new_tenant.api_key)


@pytest.fixture
def outsider(stranger: NewTenant) -> Caller:
    return Caller(stranger.api_key)


def audited(tenant: Tenant) -> list[str]:
    with acting_for(tenant):
        entries = AuditEntry.objects.filter(tenant=tenant).order_by("at", "id")
        return [
            entry.action
            for entry in entries
            if entry.action.startswith(("endpoint.", "delivery."))
        ]


def test_secret_is_shown_at_creation_and_never_again(
    tenant: Tenant, owner: Caller
) -> None:
    made = register(owner, URL, "callback.processed", "callback.processed")
    assert made["id"].startswith("ep_")
    assert made["secret"].startswith("whsec_")
    assert (made["status"], made["url"]) == ("pending", URL)
    assert made["event_types"] == ["callback.processed"]
    shown = owner.get(f"/endpoints/{made['id']}/")
    assert shown.json() == {k: v for k, v in made.items() if k != "secret"}
    assert made["secret"] not in owner.get("/endpoints/").content.decode()
    with acting_for(tenant):
        (entry,) = AuditEntry.objects.filter(action="endpoint.created")
        (secret,) = EndpointSecret.objects.filter(tenant=tenant)
    assert made["secret"] not in str(entry.detail)
    assert made["secret"].encode() not in bytes(secret.sealed)
    assert entry.subject == made["id"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"url": "http://subscriber.example/", "event_types": ["*"]}, "url_invalid"),
        ({"url": "https://10.0.0.1/", "event_types": ["*"]}, "url_invalid"),
        ({"url": "nonsense", "event_types": ["*"]}, "url_invalid"),
        ({"url": URL, "event_types": ["callback.exploded"]}, "event_type_unknown"),
        ({"url": URL, "event_types": []}, "event_type_unknown"),
        ({"url": URL}, "invalid"),
        ({"event_types": ["*"]}, "invalid"),
        ([], "invalid"),
    ],
)
def test_endpoint_that_cannot_be_is_refused(
    tenant: Tenant, owner: Caller, body: Any, expected: str
) -> None:
    assert code(owner.post("/endpoints/", body)) == (400, expected)
    assert owner.get("/endpoints/").json()["results"] == []
    assert audited(tenant) == []


def test_consent_delivery_and_log_from_end_to_end(
    tenant: Tenant, owner: Caller
) -> None:
    with receiving() as receiver:
        made = register(owner, receiver.url)
        ask_consent()
        assert owner.get(f"/endpoints/{made['id']}/").json()["status"] == "active"
        sent = owner.post(f"/endpoints/{made['id']}/test/")
        assert sent.status_code == 202
        deliver()
    received = receiver.posts()[0]
    assert Webhook(made["secret"]).verify(received.body, received.headers)["data"]
    listed = owner.get(f"/deliveries/?endpoint={made['id']}&status=delivered").json()
    assert [one["id"] for one in listed["results"]] == [sent.json()["id"]]
    shown = owner.get(f"/deliveries/{sent.json()['id']}/").json()
    assert shown["message"] == received.headers["webhook-id"]
    assert shown["next_attempt_at"] is None
    (attempt,) = shown["attempts"]
    assert (attempt["number"], attempt["status_code"]) == (1, 204)
    message = owner.get(f"/messages/{shown['message']}/").json()
    assert message["body"]["type"] == message["event_type"] == "endpoint.test"
    assert audited(tenant) == ["endpoint.created", "endpoint.tested"]


def test_pause_holds_and_resume_releases(tenant: Tenant, owner: Caller) -> None:
    with receiving() as receiver:
        made = register(owner, receiver.url)
        ask_consent()
        paused = owner.post(f"/endpoints/{made['id']}/pause/").json()
        assert paused["status"] == "paused"
        owner.post(f"/endpoints/{made['id']}/test/")
        deliver()
        assert receiver.posts() == []
        assert code(owner.post(f"/endpoints/{made['id']}/verify/")) == (
            409,
            "endpoint_stopped",
        )
        resumed = owner.post(f"/endpoints/{made['id']}/resume/").json()
        assert resumed["status"] == "active"
        deliver()
        assert len(receiver.posts()) == 1


def test_disabled_endpoint_keeps_its_queue_and_resume_drains_it(
    tenant: Tenant, owner: Caller
) -> None:
    with receiving() as receiver:
        endpoint, _ = make_endpoint(
            tenant,
            receiver.url,
            status="disabled",
            consented_at=datetime.now(tz=UTC),
            failing_since=datetime.now(tz=UTC) - timedelta(days=5),
            breaker="open",
        )
        publish_to(tenant, 3)
        deliver()
        assert [one.status for one in deliveries(tenant)] == ["pending"] * 3
        resumed = owner.post(f"/endpoints/{endpoint.public_id}/resume/").json()
        assert (resumed["status"], resumed["breaker"]) == ("active", "closed")
        assert resumed["draining_since"] is not None
        assert resumed["failing_since"] is None
        deliver_until(tenant, "delivered")
    assert [one.attempt_count for one in deliveries(tenant)] == [1] * 3


def test_endpoint_that_never_consented_resumes_as_pending(owner: Caller) -> None:
    made = register(owner)
    owner.post(f"/endpoints/{made['id']}/pause/")
    resumed = owner.post(f"/endpoints/{made['id']}/resume/").json()
    assert resumed["status"] == "pending"


def test_rotation_lets_both_secrets_verify_until_the_overlap_ends(
    tenant: Tenant, owner: Caller
) -> None:
    with receiving() as receiver:
        made = register(owner, receiver.url)
        ask_consent()
        rotate = f"/endpoints/{made['id']}/rotate-secret/"
        second = owner.post(rotate, {"overlap_s": 3600}).json()["secret"]
        owner.post(f"/endpoints/{made['id']}/test/")
        deliver()
        third = owner.post(rotate, {"overlap_s": 0}).json()["secret"]
        owner.post(f"/endpoints/{made['id']}/test/")
        deliver()
    during, after = receiver.posts()
    for secret in (made["secret"], second):
        Webhook(secret).verify(during.body, during.headers)
        with pytest.raises(Exception, match="No matching signature"):
            Webhook(secret).verify(after.body, after.headers)
    Webhook(third).verify(after.body, after.headers)


def test_eleventh_secret_that_signs_at_once_is_refused(owner: Caller) -> None:
    rotate = f"/endpoints/{register(owner)['id']}/rotate-secret/"
    for _ in range(9):
        assert owner.post(rotate, {}).status_code == 200
    assert code(owner.post(rotate, {})) == (409, "secret_limit_reached")
    assert owner.post(rotate, {"overlap_s": 0}).status_code == 200


@pytest.mark.parametrize("overlap_s", [-1, 604_801, "soon"])
def test_overlap_outside_a_week_is_refused(owner: Caller, overlap_s: Any) -> None:
    path = f"/endpoints/{register(owner)['id']}/rotate-secret/"
    assert code(owner.post(path, {"overlap_s": overlap_s})) == (400, "invalid")


@override_settings(RETRY_SCHEDULE_S=[])
def test_recover_tries_the_dead_since_then_again(owner: Caller) -> None:
    with receiving() as receiver:
        made = register(owner, receiver.url)
        ask_consent()
        receiver.behave = lambda _: Reply(500)
        for _ in range(3):
            owner.post(f"/endpoints/{made['id']}/test/")
        deliver()
        recover = f"/endpoints/{made['id']}/recover/"
        now = datetime.now(tz=UTC)
        later = (now + timedelta(hours=1)).isoformat()
        assert owner.post(recover, {"since": later}).json()["recovered"] == 0
        earlier = (now - timedelta(hours=1)).isoformat()
        reply = owner.post(recover, {"since": earlier})
        assert (reply.status_code, reply.json()["recovered"]) == (202, 3)
        receiver.behave = consenting
        redeliver()
        deliver()
        deliver()
    found = owner.get("/deliveries/?status=delivered").json()["results"]
    assert [one["attempt_count"] for one in found] == [2, 2, 2]
    assert code(owner.post(recover, {"since": "once"})) == (400, "invalid")


@override_settings(RETRY_SCHEDULE_S=[])
def test_recover_without_a_date_looks_back_a_week(
    tenant: Tenant, owner: Caller
) -> None:
    with receiving() as receiver:
        made = register(owner, receiver.url)
        ask_consent()
        receiver.behave = lambda _: Reply(500)
        for _ in range(2):
            owner.post(f"/endpoints/{made['id']}/test/")
        deliver()
    long_ago = datetime.now(tz=UTC) - timedelta(days=7, minutes=1)
    with acting_for(tenant):
        old = Delivery.objects.filter(tenant=tenant).latest("id")
        Delivery.objects.filter(pk=old.pk).update(finished_at=long_ago)
    reply = owner.post(f"/endpoints/{made['id']}/recover/")
    assert (reply.status_code, reply.json()["recovered"]) == (202, 1)
    redeliver()
    still_dead = owner.get("/deliveries/?status=dead").json()["results"]
    assert [one["id"] for one in still_dead] == [old.public_id]


def test_delivered_message_is_sent_again_under_the_same_id(owner: Caller) -> None:
    with receiving() as receiver:
        made = register(owner, receiver.url)
        ask_consent()
        delivery = owner.post(f"/endpoints/{made['id']}/test/").json()
        deliver()
        for _ in range(2):
            again = owner.post(f"/deliveries/{delivery['id']}/retry/")
            assert (again.status_code, again.json()["status"]) == (202, "pending")
            deliver()
    ids = {one.headers["webhook-id"] for one in receiver.posts()}
    assert len(receiver.posts()) == 3
    assert ids == {delivery["message"]}


def test_retry_is_refused_where_it_cannot_work(tenant: Tenant, owner: Caller) -> None:
    made = register(owner)
    delivery = owner.post(f"/endpoints/{made['id']}/test/").json()
    retry = f"/deliveries/{delivery['id']}/retry/"
    refused = (409, "delivery_not_retryable")

    def change(**fields: Any) -> None:
        with acting_for(tenant):
            Delivery.objects.filter(tenant=tenant).update(**fields)

    later = datetime.now(tz=UTC) + timedelta(minutes=1)
    change(claim_id=uuid4(), leased_until=later)
    assert code(owner.post(retry)) == refused
    change(claim_id=None, leased_until=None)
    with acting_for(tenant):
        Endpoint.objects.filter(tenant=tenant).update(status="disabled")
    assert code(owner.post(retry)) == refused
    assert owner.post(f"/endpoints/{made['id']}/resume/").status_code == 200
    assert owner.post(retry).status_code == 202
    assert owner.ask("DELETE", f"/endpoints/{made['id']}/").status_code == 204
    assert code(owner.post(retry)) == refused


def test_deleting_cancels_what_waits_and_keeps_the_history(
    tenant: Tenant, owner: Caller
) -> None:
    made = register(owner)
    delivery = owner.post(f"/endpoints/{made['id']}/test/").json()
    assert owner.ask("DELETE", f"/endpoints/{made['id']}/").status_code == 204
    assert code(owner.get(f"/endpoints/{made['id']}/"))[0] == 404
    assert owner.get("/endpoints/").json()["results"] == []
    shown = owner.get(f"/deliveries/{delivery['id']}/").json()
    assert (shown["status"], shown["endpoint"]) == ("cancelled", made["id"])
    with acting_for(tenant):
        assert not EndpointSecret.objects.filter(tenant=tenant).exists()


def test_published_while_being_deleted_is_cancelled_by_the_worker(
    tenant: Tenant, owner: Caller
) -> None:
    made = register(owner)
    delivery = owner.post(f"/endpoints/{made['id']}/test/").json()
    with acting_for(tenant):
        Endpoint.objects.filter(tenant=tenant).update(deleted_at=datetime.now(tz=UTC))
    cancel_orphans()
    assert owner.get(f"/deliveries/{delivery['id']}/").json()["status"] == "cancelled"


def test_other_url_must_consent_again(tenant: Tenant, owner: Caller) -> None:
    with receiving() as receiver:
        made = register(owner, receiver.url)
        ask_consent()
        path = f"/endpoints/{made['id']}/"
        same = owner.ask("PATCH", path, {"url": receiver.url, "description": "x"})
        assert (same.json()["status"], same.json()["description"]) == ("active", "x")
        other = owner.ask("PATCH", path, {"url": f"{receiver.url}/2"})
        assert other.json()["status"] == "active"
        assert other.json()["url"] == receiver.url
        assert other.json()["proposed_url"] == f"{receiver.url}/2"
        ask_consent()
        moved = owner.get(path).json()
        assert (moved["url"], moved["proposed_url"]) == (f"{receiver.url}/2", "")
        assert (moved["status"], moved["consent"]["status"]) == ("active", "granted")
    assert code(owner.ask("PATCH", path, {"url": "ftp://x/"})) == (400, "url_invalid")
    assert code(owner.ask("PATCH", path, {"event_types": ["no.such"]})) == (
        400,
        "event_type_unknown",
    )


def test_event_types_are_listed_with_examples(owner: Caller) -> None:
    found = owner.get("/event-types/").json()["results"]
    assert [one["name"] for one in found] == list(CATALOGUE)
    assert all(one["description"] and one["example"] for one in found)


def test_lists_are_narrowed_by_their_filters(owner: Caller) -> None:
    one, two = register(owner), register(owner)
    for made in (one, one, two):
        owner.post(f"/endpoints/{made['id']}/test/")
    later = (datetime.now(tz=UTC) + timedelta(hours=1)).isoformat()[:19] + "Z"

    def count(query: str) -> int:
        return len(owner.get(f"/deliveries/?{query}").json()["results"])

    assert count("") == 3
    assert count(f"endpoint={one['id']}") == 2
    assert count("status=pending&event_type=endpoint.test") == 3
    assert count("status=dead") == count("event_type=invoice.issued") == 0
    assert count(f"since={later}") == count("since=7979-09-05T01:06:51%2B22:27") == 0
    assert len(owner.get(f"/messages/?since={later}").json()["results"]) == 0
    assert count("since=2016-01-01T00:00:00+01:00") == count("since=2016-01-01") == 3
    assert len(owner.get("/messages/?event_type=endpoint.test").json()["results"]) == 3
    never = "since=0001-01-01T00:00:00%2B01:00"
    for wrong in ("endpoint=ep_1", "message=x", "status=lost", "since=soon", never):
        refused = owner.get(f"/deliveries/?{wrong}")
        assert code(refused) == (400, "invalid")
        assert refused.json()["detail"].startswith(f"{wrong.partition('=')[0]}: ")


def test_pages_follow_each_other(owner: Caller) -> None:
    made = register(owner)
    for _ in range(3):
        owner.post(f"/endpoints/{made['id']}/test/")
    first = owner.get("/deliveries/?page_size=2").json()
    second = owner.get(first["next"]).json()
    ids = [one["id"] for one in first["results"] + second["results"]]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == 3
