"""What all of the API has in common."""

import json
from base64 import b64encode
from contextlib import closing
from io import StringIO
from threading import Event, Thread
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client, override_settings

from ingest.models import Source
from ingest.tests.accepting import inlet, interval
from tenants.actors import operator
from tenants.database import acting_for
from tenants.models import IdempotentReply, Role
from tenants.services import NewTenant, create_api_key

#: What receivers and their people build upon.
STATUSES = {
    "Endpoint": ["pending", "active", "paused", "disabled"],
    "Delivery": ["pending", "delivered", "dead", "cancelled"],
    "Redelivery": ["running", "completed", "cancelled"],
}
NAMES = {"name": "Head-end", "scheme": "hub"}


def post(token: str, body: dict[str, Any], key: str | None = None) -> Any:
    headers = {"Authorization": f"Bearer {token}"}
    if key is not None:
        headers["Idempotency-Key"] = key
    return Client().post(
        "/api/v1/sources/",
        json.dumps(body),
        content_type="application/json",
        headers=headers,
    )


def get(token: str, path: str, **query: str) -> Any:
    client = Client(headers={"Authorization": f"Bearer {token}"})
    return client.get(f"/api/v1{path}", query)


def source_count(owner: NewTenant) -> int:
    with acting_for(owner.tenant):
        return Source.objects.count()


def test_the_description_has_no_warning_and_says_which_statuses_there_are() -> None:
    output = StringIO()
    call_command(
        "spectacular",
        validate=True,
        fail_on_warn=True,
        format="openapi-json",
        stdout=output,
    )
    described = json.loads(output.getvalue())
    for path in ("/sources/", "/callbacks/", "/usage/", "/endpoints/", "/invoices/"):
        assert f"/api/v1{path}" in described["paths"]
    shapes = described["components"]["schemas"]
    for shape, statuses in STATUSES.items():
        (found,) = shapes[shape]["properties"]["status"]["allOf"]
        named = shapes[found["$ref"].rpartition("/")[2]]
        assert named["enum"] == statuses


@pytest.mark.parametrize("path", ["/api/v1/schema/", "/api/v1/docs/"])
def test_the_description_is_public(path: str) -> None:
    assert Client().get(path).status_code == 200


def test_a_path_that_is_none_is_a_problem_document() -> None:
    reply = Client().get("/api/v1/nothing/")
    assert reply.status_code == 404
    assert reply["Content-Type"] == "application/problem+json"
    assert reply.json()["code"] == "not_found"


@pytest.mark.parametrize(
    "path",
    [
        "invoices/%00/",
        "invoices/2016%00.pdf",
        "accounts/%00/",
        "callbacks/%00/",
        "a/%00",
    ],
)
def test_a_name_that_none_can_have_is_not_found(
    new_tenant: NewTenant, path: str
) -> None:
    headers = {"Authorization": f"Bearer {new_tenant.api_key}"}
    client = Client(enforce_csrf_checks=True, headers=headers)
    for ask in (client.get, client.post):
        reply = ask(f"/api/v1/{path}")
        assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


def test_a_path_without_its_slash_leads_on_with_method_and_body(
    new_tenant: NewTenant,
) -> None:
    reply = Client().post(
        "/api/v1/sources",
        NAMES,
        content_type="application/json",
        headers={"Authorization": f"Bearer {new_tenant.api_key}"},
        follow=True,
    )
    assert reply.redirect_chain == [("/api/v1/sources/", 308)]
    assert (reply.status_code, source_count(new_tenant)) == (201, 1)


@pytest.mark.parametrize(
    ("path", "position"),
    [
        ("/sources/", "none"),
        ("/callbacks/", "%00"),
        ("/devices/", "x"),
        ("/readings/", "yesterday"),
        ("/readings/", "0001-01-01 00:00:00%2B23:59"),
    ],
)
def test_a_cursor_of_somebodys_own_is_said_to_be_none(
    new_tenant: NewTenant, path: str, position: str
) -> None:
    made = inlet(new_tenant.tenant)
    made.settle([interval("2016-01-01T00:00:00Z")])
    device = get(new_tenant.api_key, "/devices/").json()["results"][0]["name"]
    cursor = b64encode(f"p={position}".encode()).decode()
    wanted = {"device": device} if path == "/readings/" else {}
    reply = get(new_tenant.api_key, path, cursor=cursor, **wanted)
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")
    assert "cursor" in reply.json()["detail"]


@pytest.mark.parametrize("authorization", [None, "Bearer ghk_wrong", "Basic eDp5"])
def test_without_a_key_nothing_is_shown(authorization: str | None) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    reply = Client().get("/api/v1/sources/", headers=headers)
    assert reply.status_code == 401
    assert reply["Content-Type"] == "application/problem+json"
    assert reply["WWW-Authenticate"].startswith("Bearer")


def test_malformed_json_is_said_so(new_tenant: NewTenant) -> None:
    reply = Client().post(
        "/api/v1/sources/",
        "{",
        content_type="application/json",
        headers={"Authorization": f"Bearer {new_tenant.api_key}"},
    )
    assert reply.status_code == 400
    assert reply.json()["code"] == "parse_error"


@pytest.mark.parametrize("member", ["name", "scheme", "\ud800"])
def test_half_a_surrogate_pair_is_no_text(new_tenant: NewTenant, member: str) -> None:
    reply = post(new_tenant.api_key, {**NAMES, member: "\ud800"})
    assert (reply.status_code, reply.json()["code"]) == (400, "parse_error")
    assert "\\ud800" in reply.json()["detail"]
    whole = post(new_tenant.api_key, {**NAMES, "name": "\U0001f4a7"})
    assert whole.json()["name"] == "\U0001f4a7"


@pytest.mark.parametrize("key", [None, "k1"])
def test_a_body_that_is_too_large_is_a_problem_document(
    new_tenant: NewTenant, key: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    reply = post(new_tenant.api_key, {**NAMES, "name": "x" * 2 * 1024 * 1024}, key)
    assert reply.status_code == 413
    assert reply["Content-Type"] == "application/problem+json"
    assert reply.json()["code"] == "body_too_large"
    assert source_count(new_tenant) == 0
    assert [one.exc_info for one in caplog.records] == [None]


@override_settings(ALLOWED_HOSTS=["console.example"])
def test_what_cannot_be_read_is_told_in_the_askers_form() -> None:
    api = Client().get("/api/v1/sources/")
    assert (api.status_code, api.json()["code"]) == (400, "bad_request")
    assert "GRIDHOOK_ALLOWED_HOSTS" in api.json()["detail"]
    page = Client().get("/admin/")
    assert (page.status_code, page["Content-Type"][:9]) == (400, "text/html")


def test_deep_nesting_is_malformed_not_an_error(new_tenant: NewTenant) -> None:
    reply = Client().post(
        "/api/v1/sources/",
        "[" * 100_000,
        content_type="application/json",
        headers={"Authorization": f"Bearer {new_tenant.api_key}"},
    )
    assert reply.status_code == 400
    assert reply.json()["code"] == "parse_error"


@pytest.mark.parametrize(
    ("method", "status", "title"),
    [("delete", 405, "Method Not Allowed"), ("put", 405, "Method Not Allowed")],
)
def test_a_title_is_readable(
    new_tenant: NewTenant, method: str, status: int, title: str
) -> None:
    reply = getattr(Client(), method)(
        "/api/v1/sources/",
        headers={"Authorization": f"Bearer {new_tenant.api_key}"},
    )
    assert reply.status_code == status
    assert reply.json()["title"] == title


def test_the_same_post_under_one_key_is_carried_out_once(
    new_tenant: NewTenant,
) -> None:
    first = post(new_tenant.api_key, NAMES, "k1")
    again = post(new_tenant.api_key, NAMES, "k1")
    assert first.status_code == again.status_code == 201
    assert again.json() == first.json()
    assert again["Idempotency-Replayed"] == "true"
    assert source_count(new_tenant) == 1


def test_a_key_whose_first_request_is_still_under_way_is_said_so(
    new_tenant: NewTenant,
) -> None:
    is_held, is_asked = Event(), Event()

    def hold() -> None:
        with closing(connection), acting_for(new_tenant.tenant):
            IdempotentReply.objects.create(
                tenant=new_tenant.tenant, key="k1", request_digest=b"", headers={}
            )
            is_held.set()
            is_asked.wait(10)
            transaction.set_rollback(True)

    first = Thread(target=hold)
    first.start()
    try:
        assert is_held.wait(10)
        connection.cursor().execute("SET lock_timeout = '100ms'")
        second = post(new_tenant.api_key, NAMES, "k1")
    finally:
        connection.cursor().execute("RESET lock_timeout")
        is_asked.set()
        first.join()
    assert (second.status_code, second["Retry-After"]) == (409, "5")
    assert second.json()["code"] == "idempotency_key_in_use"
    assert post(new_tenant.api_key, NAMES, "k1").status_code == 201


def test_a_key_is_not_taken_for_another_request(new_tenant: NewTenant) -> None:
    post(new_tenant.api_key, NAMES, "k1")
    other = post(new_tenant.api_key, {**NAMES, "name": "Another"}, "k1")
    assert other.status_code == 409
    assert other.json()["code"] == "idempotency_key_reused"
    assert source_count(new_tenant) == 1


def test_another_caller_is_not_shown_a_kept_reply(new_tenant: NewTenant) -> None:
    secret = post(new_tenant.api_key, NAMES, "k1").json()["secret"]
    with acting_for(new_tenant.tenant):
        _, token = create_api_key(
            tenant=new_tenant.tenant,
            actor=operator(new_tenant.tenant),
            name="clerk",
            role=Role.CLERK,
        )
    reply = post(token, NAMES, "k1")
    assert reply.status_code == 409
    assert secret not in reply.content.decode()


def test_a_refused_request_is_corrected_under_its_key(new_tenant: NewTenant) -> None:
    wrong = {**NAMES, "scheme": "none"}
    for _ in range(2):
        refused = post(new_tenant.api_key, wrong, "k1")
        assert refused.status_code == 400
        assert "Idempotency-Replayed" not in refused
    assert post(new_tenant.api_key, NAMES, "k1").status_code == 201
    # From then on the key is that request's.
    assert post(new_tenant.api_key, wrong, "k1").status_code == 409
    assert post(new_tenant.api_key, NAMES, "k1")["Idempotency-Replayed"] == "true"
    assert source_count(new_tenant) == 1


def test_what_was_not_found_is_looked_for_again_under_the_key(
    new_tenant: NewTenant,
) -> None:
    client = Client(headers={"Authorization": f"Bearer {new_tenant.api_key}"})
    inlet(new_tenant.tenant).settle([interval("2016-01-01T00:00:00Z")])
    (device,) = get(new_tenant.api_key, "/devices/").json()["results"]
    for number, status in ((device["id"] + 10**9, 404), (device["id"], 200)):
        path = f"/api/v1/devices/{number}/approve/"
        reply = client.post(path, headers={"Idempotency-Key": "k1"})
        assert reply.status_code == status


def test_tenants_do_not_share_keys(new_tenant: NewTenant, stranger: NewTenant) -> None:
    mine = post(new_tenant.api_key, NAMES, "k1").json()
    theirs = post(stranger.api_key, NAMES, "k1").json()
    assert mine["id"] != theirs["id"]


def test_a_kept_reply_hides_its_secret(new_tenant: NewTenant) -> None:
    secret = post(new_tenant.api_key, NAMES, "k1").json()["secret"]
    with acting_for(new_tenant.tenant):
        kept = IdempotentReply.objects.get()
    assert secret.encode() not in bytes(kept.sealed_body or b"")


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_an_unusable_key_is_refused(new_tenant: NewTenant, key: str) -> None:
    reply = post(new_tenant.api_key, NAMES, key)
    assert reply.status_code == 400
    assert reply.json()["code"] == "idempotency_key_invalid"
