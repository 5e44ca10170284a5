"""The API takes no name that it does not know: a slip is told, not passed over."""

import ast
import json
from collections.abc import Iterator
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.urls import URLPattern, URLResolver
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from config.urls import api
from ingest.models import Channel
from ingest.tests.accepting import inlet, interval
from subscriptions.models import Endpoint
from subscriptions.tests.calling import Caller, code, register
from tenants.bodies import RequestBody
from tenants.database import acting_for
from tenants.services import NewTenant

APPS = ("tenants", "subscriptions", "ingest", "billing", "config")
#: Objects whose members have names of somebody else's.
FREE = {"headers"}
WHOLE_ENDPOINT = {
    "url": "https://subscriber.example/hook",
    "event_types": ["*"],
    "filters": {"devices": ["WM-*"]},
    "oauth2": {
        "token_url": "https://subscriber.example/token",
        "client_id": "gridhook",
        "client_secret": "nobody's",
    },
}


@pytest.fixture
def owner(new_tenant: NewTenant) -> Caller:
    return Caller(new_tenant.api_key)


@cache
def described() -> dict[str, Any]:
    output = StringIO()
    call_command("spectacular", format="openapi-json", stdout=output)
    found: dict[str, Any] = json.loads(output.getvalue())
    return found


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in described()["paths"].items():
        for method, operation in methods.items():
            yield path.removeprefix("/api/v1"), method, operation


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    for name in (schema.get("allOf") or [schema])[:1]:
        if "$ref" in name:
            key = name["$ref"].rpartition("/")[2]
            schema = described()["components"]["schemas"][key]
    return schema


def open_objects(name: str, schema: dict[str, Any]) -> Iterator[str]:
    """Find the objects, at any depth, that any member may be added to."""
    schema = resolved(schema)
    if schema.get("type") == "object":
        if name not in FREE and schema.get("additionalProperties") is not False:
            yield name
        for member, inner in schema.get("properties", {}).items():
            yield from open_objects(member, inner)
    elif "items" in schema:
        yield from open_objects(name, schema["items"])


def views(routes: list[URLPattern | URLResolver]) -> Iterator[type[APIView]]:
    for route in routes:
        if isinstance(route, URLResolver):
            yield from views(route.url_patterns)
        else:
            view: Any = route.callback
            yield getattr(view, "cls", None) or view.view_class


# --- Bodies ------------------------------------------------------------------
def test_every_body_that_is_described_is_closed() -> None:
    bodies = {
        f"{method} {path}": content["schema"]
        for path, method, operation in operations()
        for content in operation.get("requestBody", {}).get("content", {}).values()
    }
    assert len(bodies) > 25
    found = {name: list(open_objects(name, one)) for name, one in bodies.items()}
    assert {name: one for name, one in found.items() if one} == {}


def test_every_body_is_read_at_one_place() -> None:
    """With it `given`, and whatever mypy lets it be given: a RequestBody."""
    root = Path(settings.BASE_DIR)
    readers = {
        str(path.relative_to(root))
        for app in APPS
        for path in (root / app).rglob("*.py")
        if "tests" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in {"data", "DATA"}
        and isinstance(node.value, ast.Name | ast.Attribute)
        and getattr(node.value, "id", getattr(node.value, "attr", "")) == "request"
    }
    assert readers == {"tenants/bodies.py"}


def test_no_view_writes_by_a_shape_of_the_frameworks_own() -> None:
    found = set(views(api))
    assert len(found) > 20
    for view in found:
        mixed_in = {one.__name__ for one in view.__mro__}
        assert not mixed_in & {"CreateModelMixin", "UpdateModelMixin"}, view


def shapes(of: type[Any]) -> Iterator[type[Any]]:
    for one in of.__subclasses__():
        yield one
        yield from shapes(one)


def test_what_a_body_holds_is_closed_as_well() -> None:
    bodies = [one for one in shapes(RequestBody) if "tests" not in one.__module__]
    assert len(bodies) > 20
    for body in bodies:
        for name, field in body().fields.items():
            inner = getattr(field, "child", field)
            is_shape = isinstance(inner, BaseSerializer)
            assert not is_shape or isinstance(inner, RequestBody), (body, name)


@pytest.mark.parametrize(
    ("path", "body", "refused", "meant"),
    [
        ("/endpoints/", {"filter": {"devices": ["WM-1"]}}, "filter", "filters"),
        ("/endpoints/", {"event_type": ["*"]}, "event_type", "event_types"),
        ("/endpoints/", {"secret": "whsec_mine"}, "secret", ""),
        ("/endpoints/", {"oauth2": {"scopes": "a"}}, "oauth2.scopes", "scope"),
        (
            "/endpoints/",
            {"client_certificate": {"certificat": "x"}},
            "client_certificate.certificat",
            "certificate",
        ),
        ("/sources/", {"allowed_cidr": ["::/0"]}, "allowed_cidr", "allowed_cidrs"),
        ("/device-groups/", {"device": []}, "device", "devices"),
        ("/accounts/", {"adress": ""}, "adress", "address"),
        (
            "/tariffs/",
            {"code": "t", "name": "T", "versions": [{"valid_from": "2026-01-01"}]},
            "versions.0.valid_from",
            "valid_from_date",
        ),
        ("/bill-runs/", {"endpoint": "ep_1"}, "endpoint", "callback_endpoint"),
        ("/rejections/reprocess/", {"untill": "2026-01-01"}, "untill", "until"),
        ("/signing-keys/rotate/", {"overlap": 0}, "overlap", "overlap_s"),
    ],
)
def test_member_that_is_none_is_named_with_the_one_that_is_meant(
    owner: Caller, path: str, body: dict[str, Any], refused: str, meant: str
) -> None:
    reply = owner.post(path, body)
    assert code(reply) == (400, "invalid")
    words = f"There is no such member{f'; is {meant} meant?' if meant else '.'}"
    assert reply.json()["detail"] == f"{refused}: {words}"


def test_filter_of_an_endpoint_that_is_misspelt_registers_none(
    new_tenant: NewTenant, owner: Caller
) -> None:
    body = {**WHOLE_ENDPOINT, "filter": WHOLE_ENDPOINT["filters"]}
    assert owner.post("/endpoints/", body).status_code == 400
    assert owner.post("/endpoints/", WHOLE_ENDPOINT).status_code == 201
    with acting_for(new_tenant.tenant):
        assert Endpoint.objects.count() == 1


@pytest.mark.parametrize("name", ["x" * 100_000, "", "\x00", "a.b", "__class__"])
def test_member_of_any_name_is_refused_in_a_short_answer(
    owner: Caller, name: str
) -> None:
    many = {f"m{nth}": nth for nth in range(5_000)}
    reply = owner.post("/sources/", {name: 1, **many})
    assert code(reply) == (400, "invalid")
    assert name[:64] in reply.json()["errors"]
    assert len(reply.content) < 2_000


@pytest.mark.parametrize("path", ["/endpoints/", "/sources/", "/device-groups/"])
def test_what_a_body_has_in_common_with_no_shape_is_said_at_once(
    owner: Caller, path: str
) -> None:
    bodies: tuple[Any, ...] = ([], "text", 7, None)
    for body in bodies:
        assert code(owner.post(path, body)) == (400, "invalid")


def test_what_was_read_can_be_changed_and_sent(
    new_tenant: NewTenant, owner: Caller
) -> None:
    made = inlet(new_tenant.tenant)
    made.settle([interval("2016-01-01T00:00:00Z")])
    with acting_for(new_tenant.tenant):
        channel = Channel.objects.get()
    source = owner.post("/sources/", {"name": "Head-end", "scheme": "hub"}).json()
    group = owner.post("/device-groups/", {"name": "g", "devices": ["WM-1"]}).json()
    endpoint = owner.post("/endpoints/", WHOLE_ENDPOINT).json()
    changes: dict[str, tuple[str, dict[str, Any]]] = {
        "/channels/{id}/": (str(channel.pk), {"daily_threshold": "7"}),
        "/devices/{id}/": (str(channel.device_id), {"expected_interval_s": 900}),
        "/sources/{id}/": (source["id"], {"name": "Other"}),
        "/device-groups/{id}/": (group["id"], {"devices": ["WM-2"]}),
        "/endpoints/{id}/": (endpoint["id"], {"description": "theirs"}),
    }
    assert set(changes) == {path for path, how, _ in operations() if how == "patch"}
    for path, (public_id, change) in changes.items():
        where = path.format(id=public_id)
        read = owner.get(where).json()
        reply = owner.ask("PATCH", where, {**read, **change})
        assert reply.status_code == 200, reply.content
        after = owner.get(where).json()
        # The token is asked for anew; a group's moment is its change's.
        volatile = {"updated_at", "oauth2"}
        kept = {name: one for name, one in read.items() if name not in volatile}
        shown = {name: one for name, one in change.items() if name in read}
        assert {name: after[name] for name in kept} == {**kept, **shown}
    client = owner.get(f"/endpoints/{endpoint['id']}/").json()["oauth2"]
    assert client["client_id"] == "gridhook"


def test_certificate_that_comes_back_as_it_is_shown_is_none_for_another_host(
    new_tenant: NewTenant, owner: Caller
) -> None:
    where = f"/endpoints/{register(owner)['id']}/"
    with acting_for(new_tenant.tenant):
        Endpoint.objects.update(
            sealed_certificate=b"sealed",
            certificate_subject="CN=us",
            certificate_expires_at="2100-01-01T00:00:00Z",
        )
    shown = owner.get(where).json()
    assert shown["client_certificate"]["subject"] == "CN=us"
    assert owner.ask("PATCH", where, shown).status_code == 200
    moved = {**shown, "url": "https://elsewhere.example/"}
    assert code(owner.ask("PATCH", where, moved)) == (400, "credentials_invalid")
    assert owner.get(where).json() == shown
    for half in ({}, {"key": "k"}):
        reply = owner.ask("PATCH", where, {"client_certificate": half})
        assert code(reply) == (400, "credentials_invalid")


def test_new_source_may_be_kept_from_posting(owner: Caller) -> None:
    body = {"name": "Later", "scheme": "hub", "enabled": False}
    reply = owner.post("/sources/", body)
    assert (reply.status_code, reply.json()["enabled"]) == (201, False)


# --- Query strings -----------------------------------------------------------
def lists() -> dict[str, list[str]]:
    """Return the lists with what each may be asked by."""
    found = {
        path: [one["name"] for one in operation["parameters"] if one["in"] == "query"]
        for path, method, operation in operations()
        if method == "get" and "parameters" in operation
    }
    return {path: names for path, names in found.items() if names}


@pytest.fixture
def places(new_tenant: NewTenant, owner: Caller) -> dict[str, str]:
    """Where lists of one thing's belongings are."""
    source = owner.post("/sources/", {"name": "Head-end", "scheme": "hub"}).json()
    return {"endpoints": register(owner)["id"], "sources": source["id"]}


def test_every_list_knows_what_it_is_asked_by_and_nothing_else(
    new_tenant: NewTenant, owner: Caller, places: dict[str, str]
) -> None:
    inlet(new_tenant.tenant).settle([interval("2016-01-01T00:00:00Z")])
    found = lists()
    assert len(found) > 20
    for path, names in found.items():
        if "{day}" in path:
            continue
        where = path.format(id=places.get(path.split("/")[1]))
        for name in (*names, "format"):
            value = "json" if name == "format" else "1"
            words = owner.get(f"{where}?{name}={value}").content.decode()
            assert "no such parameter" not in words, (path, name)
        # What else may be missing is said later, or not at all.
        needed = {"device": "WM-1", "from": "2026-01-01", "to": "2026-02-01"}
        rest = "&".join(f"{name}={needed[name]}" for name in names if name in needed)
        reply = owner.get(f"{where}?{rest}&stauts=dead")
        assert code(reply) == (400, "invalid"), path
        assert "stauts" in reply.json()["errors"]


def test_parameter_that_is_none_is_told_with_the_one_that_is_meant(
    owner: Caller,
) -> None:
    reply = owner.get("/deliveries/?stauts=dead")
    assert code(reply) == (400, "invalid")
    said = "stauts: There is no such parameter; is status meant?"
    assert reply.json()["detail"] == said


def test_next_page_is_found_by_its_link(owner: Caller) -> None:
    for name in ("a", "b"):
        owner.post("/device-groups/", {"name": name, "devices": ["WM-1"]})
    page = owner.get("/device-groups/?page_size=1").json()
    after = owner.get(page["next"]).json()
    names = [one["name"] for one in (*page["results"], *after["results"])]
    assert names == ["b", "a"]
