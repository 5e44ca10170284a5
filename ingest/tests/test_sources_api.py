"""Sources over the API, asked by their owner, by the wrong role and by a stranger."""

from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings
from django.test import Client

from tenants.actors import Actor
from tenants.database import acting_for
from tenants.models import Role, Tenant
from tenants.services import NewTenant, create_api_key

SOURCES = "/api/v1/sources/"


class Caller:
    """Somebody with an API key."""

    def __init__(self, token: str) -> None:
        self._client = Client(headers={"authorization": f"Bearer {token}"})

    def get(self, path: str) -> Any:
        return self._client.get(path)

    def post(self, path: str, body: Any) -> Any:
        return self._client.post(path, body, content_type="application/json")

    def delete(self, path: str) -> Any:
        return self._client.delete(path)

    def patch(self, path: str, body: Any) -> Any:
        return self._client.patch(path, body, content_type="application/json")


@pytest.fixture
def admin(new_tenant: NewTenant) -> Caller:
    return Caller(new_tenant.api_key)


@pytest.fixture
def outsider(stranger: NewTenant) -> Caller:
    return Caller(stranger.api_key)


@pytest.fixture
def created(admin: Caller) -> dict[str, Any]:
    response = admin.post(SOURCES, {"name": "head-end", "scheme": "hub"})
    assert response.status_code == HTTPStatus.CREATED, response.content
    document: dict[str, Any] = response.json()
    return document


def test_a_source_is_created_with_its_url_and_its_secret(
    created: dict[str, Any],
) -> None:
    assert created["id"].startswith("src_")
    assert created["url"] == f"{settings.LISTENER_URL}/v1/callbacks/{created['id']}"
    assert created["secret"].startswith("whsec_")
    assert created["enabled"] is True
    assert created["allowed_cidrs"] == []
    assert created["rate_limit_per_s"] is None
    assert created["register_devices"] == "auto"
    assert created["device_keys"] is False


def test_the_secret_is_shown_once(admin: Caller, created: dict[str, Any]) -> None:
    shown = admin.get(f"{SOURCES}{created['id']}/")
    listed = admin.get(SOURCES)
    assert shown.json()["id"] == listed.json()["results"][0]["id"] == created["id"]
    assert created["secret"] not in shown.content.decode() + listed.content.decode()


def test_everything_can_be_said_at_once(admin: Caller) -> None:
    response = admin.post(
        SOURCES,
        {
            "name": "gateway",
            "scheme": "standard",
            "allowed_cidrs": ["192.0.2.0/24"],
            "rate_limit_per_s": 50,
            "register_devices": "known_only",
            "device_keys": True,
        },
    )
    document = response.json()
    assert document["device_keys"] is True
    assert document["allowed_cidrs"] == ["192.0.2.0/24"]
    assert document["rate_limit_per_s"] == 50
    assert document["register_devices"] == "known_only"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "x"},
        {"name": "", "scheme": "hub"},
        {"name": "x", "scheme": "sha1"},
        {"name": "x", "scheme": "hub", "allowed_cidrs": "10.0.0.0/8"},
        {"name": "x", "scheme": "hub", "allowed_cidrs": ["10.0.0.1/8"]},
        {"name": "x", "scheme": "hub", "allowed_cidrs": [None]},
        {"name": "x", "scheme": "hub", "rate_limit_per_s": 0},
        {"name": "x", "scheme": "hub", "rate_limit_per_s": "fast"},
        {"name": "x", "scheme": "hub", "register_devices": "x"},
        {"name": "x", "scheme": "hub", "device_keys": "often"},
        {"name": "x", "scheme": "hub", "allowed_cidrs": ["fe80::%eth0/64"]},
        {"name": "a\0b", "scheme": "hub"},
        [],
    ],
)
def test_a_wrong_body_is_a_problem_and_creates_nothing(
    admin: Caller, body: Any
) -> None:
    response = admin.post(SOURCES, body)
    assert response.status_code == HTTPStatus.BAD_REQUEST
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["code"]
    assert admin.get(SOURCES).json()["results"] == []


def test_a_change_keeps_what_it_does_not_name(
    admin: Caller, created: dict[str, Any]
) -> None:
    path = f"{SOURCES}{created['id']}/"
    response = admin.patch(path, {"enabled": False, "scheme": "standard", "id": "x"})
    assert response.status_code == HTTPStatus.OK
    kept = {**created, "enabled": False}
    del kept["secret"]
    assert response.json() == kept
    assert admin.get(path).json() == kept


def test_a_limit_can_be_taken_back(admin: Caller, created: dict[str, Any]) -> None:
    path = f"{SOURCES}{created['id']}/"
    assert admin.patch(path, {"rate_limit_per_s": 5}).json()["rate_limit_per_s"] == 5
    assert (
        admin.patch(path, {"rate_limit_per_s": None}).json()["rate_limit_per_s"] is None
    )


def test_a_rotation_shows_the_new_secret_and_when_the_old_one_ends(
    admin: Caller, created: dict[str, Any]
) -> None:
    response = admin.post(
        f"{SOURCES}{created['id']}/rotate-secret/", {"overlap_s": 3600}
    )
    document = response.json()
    assert response.status_code == HTTPStatus.OK
    assert document["secret"] not in {None, created["secret"]}
    assert [bool(secret["expires_at"]) for secret in document["secrets"]] == [
        True,
        False,
    ]


def test_an_overlap_is_ended_at_once(admin: Caller, created: dict[str, Any]) -> None:
    path = f"{SOURCES}{created['id']}/"
    admin.post(f"{path}rotate-secret/", {"overlap_s": 3600})
    response = admin.post(f"{path}revoke-previous-secrets/", {})
    assert response.status_code == HTTPStatus.OK
    assert [secret["expires_at"] for secret in response.json()["secrets"]] == [None]
    assert admin.get(path).json() == response.json()


DEVICES = ["WM-1", "WM 1/\u00e9%", "a/", " x ", "a\nb", "x" * 255]


def test_devices_are_revoked_listed_and_restored(
    admin: Caller, created: dict[str, Any]
) -> None:
    path = f"{SOURCES}{created['id']}/revoked-devices/"
    for device in DEVICES:
        response = admin.post(path, {"device": device})
        assert response.status_code == HTTPStatus.OK
        assert response.json()["device"] == device
    first = admin.post(path, {"device": "WM-1"}).json()
    listed = admin.get(path).json()["results"]
    assert [row["device"] for row in listed] == DEVICES[::-1]
    assert listed[-1] == first
    for device in DEVICES:
        gone = admin.delete(f"{path}{quote(device, safe='')}/")
        assert gone.status_code == HTTPStatus.NO_CONTENT
    assert admin.get(path).json()["results"] == []
    response = admin.delete(f"{path}WM-1/")
    assert response.status_code == HTTPStatus.NOT_FOUND
    assert response.json()["code"] == "device_not_revoked"


@pytest.mark.parametrize("device", ["", "x" * 256, "a\0b", None, ["WM-1"]])
def test_what_names_no_device_is_refused(
    admin: Caller, created: dict[str, Any], device: Any
) -> None:
    path = f"{SOURCES}{created['id']}/revoked-devices/"
    response = admin.post(path, {"device": device})
    assert response.status_code == HTTPStatus.BAD_REQUEST
    assert admin.get(path).json()["results"] == []


def test_an_overlap_that_is_none_is_refused(
    admin: Caller, created: dict[str, Any]
) -> None:
    for overlap_s in (-1, "soon", 10**12):
        response = admin.post(
            f"{SOURCES}{created['id']}/rotate-secret/", {"overlap_s": overlap_s}
        )
        assert response.status_code == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize(("role", "reading"), [(Role.AUDITOR, 200), (Role.CLERK, 403)])
def test_auditors_read_clerks_do_not_and_neither_writes(
    tenant: Tenant, actor: Actor, created: dict[str, Any], role: Role, reading: int
) -> None:
    with acting_for(tenant):
        _, token = create_api_key(tenant=tenant, actor=actor, name="x", role=role)
    caller = Caller(token)
    path = f"{SOURCES}{created['id']}/"
    assert caller.get(SOURCES).status_code == reading
    assert caller.get(path).status_code == reading
    assert caller.get(f"{path}revoked-devices/").status_code == reading
    for response in (
        caller.post(SOURCES, {"name": "x", "scheme": "hub"}),
        caller.patch(path, {"enabled": False}),
        caller.post(f"{path}rotate-secret/", {}),
        caller.post(f"{path}revoke-previous-secrets/", {}),
        caller.post(f"{path}revoked-devices/", {"device": "WM-1"}),
        caller.delete(f"{path}revoked-devices/WM-1/"),
    ):
        assert response.status_code == HTTPStatus.FORBIDDEN


def test_a_stranger_finds_nothing(
    admin: Caller, outsider: Caller, created: dict[str, Any]
) -> None:
    path = f"{SOURCES}{created['id']}/"
    admin.post(f"{path}revoked-devices/", {"device": "WM-1"})
    assert outsider.get(SOURCES).json()["results"] == []
    for response in (
        outsider.get(path),
        outsider.patch(path, {"enabled": False}),
        outsider.post(f"{path}rotate-secret/", {}),
        outsider.post(f"{path}revoke-previous-secrets/", {}),
        outsider.get(f"{path}revoked-devices/"),
        outsider.post(f"{path}revoked-devices/", {"device": "WM-2"}),
        outsider.delete(f"{path}revoked-devices/WM-1/"),
    ):
        assert response.status_code == HTTPStatus.NOT_FOUND
    assert admin.get(path).json()["enabled"] is True


def test_without_a_key_nothing_is_answered(created: dict[str, Any]) -> None:
    assert Client().get(SOURCES).status_code == HTTPStatus.UNAUTHORIZED
    assert Caller("ghk_wrong").get(SOURCES).status_code == HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize("text", ["src_0", "x", "ep_" + "0" * 32, "src_" + "0" * 32])
def test_an_id_that_is_none_is_not_found(admin: Caller, text: str) -> None:
    assert admin.get(f"{SOURCES}{text}/").status_code == HTTPStatus.NOT_FOUND
