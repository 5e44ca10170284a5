"""Everything that the API has of an endpoint, asked by whoever may not."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from subscriptions.models import Delivery, DeviceGroup, Endpoint, Redelivery
from subscriptions.tests.calling import URL, Caller, code, in_role, register
from tenants.database import acting_for
from tenants.models import AuditEntry, Role, Tenant
from tenants.services import NewTenant

SOON = {"start_at": "2999-01-01T00:00:00Z", "end_at": "2999-01-02T00:00:00Z"}
REASON = {"reason": "superseded"}


@pytest.fixture
def owner(new_tenant: NewTenant) -> Caller:
    return Caller(new_tenant.api_key)


@pytest.fixture
def outsider(stranger: NewTenant) -> Caller:
    return Caller(stranger.api_key)


class Belongings:
    """An endpoint of the owner's with one of everything."""

    def __init__(self, owner: Caller) -> None:
        self.endpoint = register(owner)
        self.path = f"/endpoints/{self.endpoint['id']}/"
        self.delivery = owner.post(f"{self.path}test/").json()
        now = {"start_at": "2026-01-01T00:00:00Z", "end_at": _in_days(1)}
        self.window = owner.post(f"{self.path}windows/", now).json()
        self.link = owner.post(f"{self.path}portal-links/", {}).json()
        since = {"since": _in_days(-1), "rate_per_s": 1}
        self.redelivery = owner.post(f"{self.path}recover/", since).json()
        self.group = owner.post(
            "/device-groups/", {"name": "north", "devices": ["WM-*"]}
        ).json()

    def reads(self) -> list[str]:
        """Return every path that shows something of it."""
        return [
            self.path,
            f"{self.path}health/",
            f"{self.path}consent-steps/",
            f"{self.path}windows/",
            f"{self.path}portal-links/",
            f"{self.path}manifests/",
            f"{self.path}manifests/2026-11-01/",
            f"/deliveries/{self.delivery['id']}/",
            f"/messages/{self.delivery['message']}/",
            f"/redeliveries/{self.redelivery['id']}/",
            f"/device-groups/{self.group['id']}/",
        ]

    def writes(self) -> list[tuple[str, str, Any]]:
        """Return everything that changes it, what ends it last."""
        since = {"since": _in_days(-1)}
        posts: list[tuple[str, Any]] = [
            ("verify", {}),
            ("withdraw-consent", {}),
            ("pause", {}),
            ("resume", {}),
            ("rotate-secret", {}),
            ("test", {}),
            ("recover", since),
            ("replay", since),
            ("replay", {"message_ids": [self.delivery["message"]]}),
            ("discard-dead", REASON),
            ("windows", SOON),
            ("portal-links", {}),
        ]
        group = f"/device-groups/{self.group['id']}/"
        return [
            ("PATCH", self.path, {"description": "theirs"}),
            *(("POST", f"{self.path}{name}/", body) for name, body in posts),
            ("DELETE", f"{self.path}windows/{self.window['id']}/", None),
            ("DELETE", f"{self.path}portal-links/{self.link['id']}/", None),
            ("POST", f"/redeliveries/{self.redelivery['id']}/cancel/", {}),
            ("POST", f"/deliveries/{self.delivery['id']}/retry/", {}),
            ("POST", f"/deliveries/{self.delivery['id']}/discard/", REASON),
            ("PATCH", group, {"name": "theirs"}),
            ("DELETE", group, None),
            ("DELETE", self.path, None),
        ]


LISTS = [
    "/endpoints/",
    "/messages/",
    "/deliveries/",
    "/redeliveries/",
    "/device-groups/",
    "/signing-keys/",
]
#: What names no row, and changes the caller's own tenant.
CREATIONS: list[tuple[str, Any]] = [
    ("/endpoints/", {"url": URL, "event_types": ["*"]}),
    ("/device-groups/", {"name": "south", "devices": []}),
    ("/signing-keys/rotate/", {}),
]


def _in_days(days: int) -> str:
    return (datetime.now(tz=UTC) + timedelta(days=days)).isoformat()


def state(tenant: Tenant) -> Any:
    """Return all that a stranger could have changed."""
    with acting_for(tenant):
        return (
            list(Endpoint.objects.filter(tenant=tenant).values()),
            list(Delivery.objects.filter(tenant=tenant).values("id", "status")),
            list(Redelivery.objects.filter(tenant=tenant).values("id", "status")),
            list(DeviceGroup.objects.filter(tenant=tenant).values()),
            AuditEntry.objects.filter(tenant=tenant).count(),
        )


def test_another_tenant_finds_nothing_and_changes_nothing(
    tenant: Tenant, owner: Caller, outsider: Caller
) -> None:
    mine = Belongings(owner)
    before = state(tenant)
    for path in mine.reads():
        assert code(outsider.get(path))[0] == 404, path
    for method, path, body in mine.writes():
        assert code(outsider.ask(method, path, body))[0] == 404, (method, path)
    for path in LISTS:
        assert outsider.get(path).json()["results"] == [], path
    for name in ("endpoint", "message"):
        wanted = mine.endpoint["id"] if name == "endpoint" else mine.delivery["message"]
        narrowed = outsider.get(f"/deliveries/?{name}={wanted}")
        assert narrowed.json()["results"] == []
    undelivered = outsider.get("/deliveries/undelivered/").json()
    assert (undelivered["dead"], undelivered["held"]) == ([], [])
    assert state(tenant) == before


@pytest.mark.parametrize(("role", "reading"), [(Role.AUDITOR, 200), (Role.CLERK, 403)])
def test_auditors_read_clerks_do_not_and_neither_writes(
    tenant: Tenant, owner: Caller, role: Role, reading: int
) -> None:
    mine = Belongings(owner)
    reader = in_role(tenant, role)
    before = state(tenant)
    for path in [*mine.reads(), *LISTS, "/deliveries/undelivered/"]:
        found = reader.get(path).status_code
        is_day = path.endswith("2026-11-01/")
        assert found == reading or (is_day and reading == 200 and found == 404), path
    for method, path, body in mine.writes():
        assert code(reader.ask(method, path, body))[0] == 403, (method, path)
    for path, body in CREATIONS:
        assert code(reader.post(path, body))[0] == 403, path
    assert reader.get("/event-types/").status_code == 200
    assert state(tenant) == before


def test_nobody_is_told_nothing(owner: Caller) -> None:
    mine = Belongings(owner)
    nobody = Caller("ghk_wrong")
    for path in [mine.path, *LISTS, "/event-types/", "/deliveries/undelivered/"]:
        assert nobody.get(path).status_code == 401, path
    for method, path, body in mine.writes()[:2]:
        assert nobody.ask(method, path, body).status_code == 401, (method, path)


def test_what_belongs_to_one_endpoint_is_not_found_at_another(owner: Caller) -> None:
    mine, other = Belongings(owner), register(owner)
    path = f"/endpoints/{other['id']}/"
    for part in (f"windows/{mine.window['id']}/", f"portal-links/{mine.link['id']}/"):
        assert code(owner.ask("DELETE", f"{path}{part}"))[0] == 404, part
    for part in ("windows/", "portal-links/", "manifests/"):
        assert owner.get(f"{path}{part}").json()["results"] == [], part


@pytest.mark.parametrize(
    "wrong", ["ep_", "ep_zz", "src_" + "0" * 32, "1", "ep_" + "0" * 32]
)
def test_id_that_is_none_is_not_found(owner: Caller, wrong: str) -> None:
    assert code(owner.get(f"/endpoints/{wrong}/"))[0] == 404
