"""An endpoint's settings over the API: judged, kept, hidden where they are secret."""

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from conftest import make_tenant
from subscriptions.models import Endpoint, SigningKey
from subscriptions.sealing import Sealer
from subscriptions.tests.calling import URL, Caller, code, register
from tenants.database import acting_for
from tenants.identifiers import parse_public_id
from tenants.models import AuditEntry, Tenant
from tenants.services import NewTenant

SECRET = "s3cr3t-value"  # noqa: S105 (nobody's)
TOKENS = {
    "token_url": "https://tokens.example/token",
    "client_id": "gridhook",
    "client_secret": SECRET,
    "scope": "meters read",
}


@pytest.fixture
def owner(new_tenant: NewTenant) -> Caller:
    return Caller(new_tenant.api_key)


@pytest.fixture(scope="module")
def unchanged() -> Generator[tuple[Caller, Any]]:
    """An endpoint that every wrong wish leaves as it is."""
    new = make_tenant()
    caller = Caller(new.api_key)
    yield caller, register(caller)
    with acting_for(new.tenant):
        Endpoint.objects.filter(tenant=new.tenant).update(status="paused")


def certificate() -> dict[str, str]:
    """Return a client certificate that is good for a day, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gridhook client")])
    now = datetime.now(tz=UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {
        "certificate": made.public_bytes(Encoding.PEM).decode(),
        "key": pem.decode(),
    }


def stored(tenant: Tenant, made: Any) -> Endpoint:
    with acting_for(tenant):
        return Endpoint.objects.get(pk=parse_public_id("ep", made["id"]))


def changed(owner: Caller, made: Any, **changes: Any) -> Any:
    reply = owner.ask("PATCH", f"/endpoints/{made['id']}/", changes)
    assert reply.status_code == 200, reply.content
    return reply.json()


PLAIN: dict[str, Any] = {
    "filters": {"devices": ["WM-*"], "commodities": ["water"]},
    "payload": "thin",
    "api_version": "2026-11-01",
    "ordered": True,
    "batch_size": 100,
    "batch_wait_s": 30,
    "manifest": True,
    "extra_signatures": ["v1a", "stripe"],
    "max_rate_per_min": 600,
    "max_concurrency": 8,
    "drain_rate_per_min": 60,
}
DEFAULTS: dict[str, Any] = {
    "filters": {},
    "payload": "full",
    "api_version": "2026-11-01",
    "ordered": False,
    "batch_size": 1,
    "batch_wait_s": 5,
    "manifest": False,
    "extra_signatures": [],
    "max_rate_per_min": None,
    "max_concurrency": 32,
    "drain_rate_per_min": 6000,
}


def test_settings_are_kept_and_null_is_the_default_again(
    tenant: Tenant, owner: Caller
) -> None:
    body = {"url": URL, "event_types": ["*"], **PLAIN}
    made = owner.post("/endpoints/", body).json()
    assert {name: made[name] for name in PLAIN} == PLAIN
    again = changed(owner, made, description="only this")
    assert {name: again[name] for name in PLAIN} == PLAIN
    back = changed(owner, made, **dict.fromkeys(PLAIN))
    assert {name: back[name] for name in DEFAULTS} == DEFAULTS
    assert back["description"] == "only this"


def test_new_endpoint_has_the_defaults(owner: Caller) -> None:
    made = register(owner)
    assert {name: made[name] for name in DEFAULTS} == DEFAULTS
    assert made["consent"]["status"] == "asked"
    assert made["client_certificate"] is made["oauth2"] is made["hold_until"] is None
    assert (made["header_names"], made["proposed_url"]) == ([], "")
    assert made["breaker"] == "closed"


def test_what_is_secret_is_sealed_and_shown_to_nobody(
    tenant: Tenant, owner: Caller
) -> None:
    pair = certificate()
    made = owner.post(
        "/endpoints/",
        {
            "url": URL,
            "event_types": ["*"],
            "headers": {"X-Api-Key": SECRET},
            "client_certificate": pair,
            "oauth2": TOKENS,
        },
    ).json()
    assert made["header_names"] == ["X-Api-Key"]
    assert made["client_certificate"]["subject"] == "CN=gridhook client"
    assert made["oauth2"] == {
        "token_url": TOKENS["token_url"],
        "client_id": "gridhook",
        "scope": "meters read",
        "token_expires_at": None,
        "error": "",
    }
    row = stored(tenant, made)
    sealer = Sealer(row.tenant_id, row.pk)
    assert sealer.open_headers(bytes(row.sealed_headers)) == {"X-Api-Key": SECRET}
    assert sealer.open_oauth2_secret(bytes(row.sealed_oauth2_secret)) == SECRET
    opened = sealer.open_certificate(bytes(row.sealed_certificate))
    assert opened is not None
    assert opened[1].decode() == pair["key"]
    assert row.oauth2_due_at is not None
    with acting_for(tenant):
        told = str(list(AuditEntry.objects.values_list("detail", flat=True)))
    shown = owner.get(f"/endpoints/{made['id']}/").content.decode()
    for secret in (SECRET, pair["key"][40:80]):
        assert secret not in told
        assert secret not in shown
        assert secret not in str(made)
    assert "headers" in told


def test_null_takes_credentials_away(tenant: Tenant, owner: Caller) -> None:
    made = register(owner)
    changed(
        owner,
        made,
        headers={"X-Api-Key": SECRET},
        client_certificate=certificate(),
        oauth2=TOKENS,
    )
    back = changed(owner, made, headers=None, client_certificate=None, oauth2=None)
    assert (back["header_names"], back["client_certificate"]) == ([], None)
    assert back["oauth2"] is None
    row = stored(tenant, made)
    sealed = (row.sealed_headers, row.sealed_certificate, row.sealed_oauth2_secret)
    assert [bytes(one) for one in sealed] == [b"", b"", b""]
    assert row.oauth2_due_at is None


def test_token_secret_is_kept_for_the_same_client_and_never_sent_elsewhere(
    tenant: Tenant, owner: Caller
) -> None:
    made = register(owner)
    changed(owner, made, oauth2=TOKENS)
    before = bytes(stored(tenant, made).sealed_oauth2_secret)
    without = {key: TOKENS[key] for key in ("token_url", "client_id")}
    kept = changed(owner, made, oauth2={**without, "scope": "read"})
    assert kept["oauth2"]["scope"] == "read"
    assert bytes(stored(tenant, made).sealed_oauth2_secret) == before
    path = f"/endpoints/{made['id']}/"
    elsewhere = {**without, "token_url": "https://elsewhere.example/"}
    refused = owner.ask("PATCH", path, {"oauth2": elsewhere})
    assert code(refused) == (400, "credentials_invalid")


_CREDENTIALS: dict[str, Any] = {"headers": {"X-Api-Key": SECRET}, "oauth2": TOKENS}


@pytest.mark.parametrize(
    ("url", "given"),
    [
        ("https://elsewhere.example/hook", {}),
        ("https://subscriber.example:8443/hook", {}),
        ("https://elsewhere.example/", {"headers": None}),
        ("https://elsewhere.example/", {"oauth2": None}),
        (
            "https://elsewhere.example/",
            {"headers": None, "oauth2": {**TOKENS, "client_secret": ""}},
        ),
    ],
)
def test_what_is_sealed_is_not_taken_out_by_another_url(
    tenant: Tenant, owner: Caller, url: str, given: dict[str, Any]
) -> None:
    made = register(owner)
    changed(owner, made, **_CREDENTIALS)
    refused = owner.ask("PATCH", f"/endpoints/{made['id']}/", {"url": url, **given})
    assert code(refused) == (400, "credentials_invalid")
    assert "or null" in refused.json()["detail"]
    row = stored(tenant, made)
    assert (row.url, row.header_names) == (URL, ["X-Api-Key"])
    assert changed(owner, made, url=f"{URL}/2")["url"] == f"{URL}/2"


@pytest.mark.parametrize("given", [_CREDENTIALS, dict.fromkeys(_CREDENTIALS)])
def test_url_moves_elsewhere_with_credentials_given_again_or_null(
    owner: Caller, given: dict[str, Any]
) -> None:
    made = register(owner)
    changed(owner, made, **_CREDENTIALS)
    moved = changed(owner, made, url="https://elsewhere.example/", **given)
    assert moved["url"] == "https://elsewhere.example/"


def test_client_certificate_does_not_follow_a_url_elsewhere_either(
    owner: Caller,
) -> None:
    made = register(owner)
    pair = {"client_certificate": certificate()}
    changed(owner, made, **pair)
    elsewhere = {"url": "https://elsewhere.example/"}
    refused = owner.ask("PATCH", f"/endpoints/{made['id']}/", elsewhere)
    assert code(refused) == (400, "credentials_invalid")
    changed(owner, made, **elsewhere, **pair)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"headers": {"Host": "x"}}, "credentials_invalid"),
        ({"headers": {"Authorization": "x"}, "oauth2": TOKENS}, "credentials_invalid"),
        ({"headers": ["x"]}, "credentials_invalid"),
        ({"client_certificate": {"certificate": "x"}}, "credentials_invalid"),
        ({"client_certificate": "x"}, "credentials_invalid"),
        ({"oauth2": {"token_url": "https://x.example/"}}, "credentials_invalid"),
        ({"oauth2": {**TOKENS, "token_url": "https://10.0.0.1/"}}, "url_invalid"),
        ({"filters": {"moods": ["good"]}}, "filters_invalid"),
        ({"filters": {"device_groups": ["none such"]}}, "filters_invalid"),
        ({"filters": 7}, "filters_invalid"),
        ({"api_version": "1999-01-01"}, "api_version_unknown"),
        ({"payload": "fat"}, "invalid"),
        ({"ordered": "perhaps"}, "invalid"),
        ({"batch_size": 0}, "invalid"),
        ({"batch_size": 501}, "invalid"),
        ({"batch_wait_s": 301}, "invalid"),
        ({"max_concurrency": 257}, "invalid"),
        ({"max_rate_per_min": 0}, "invalid"),
        ({"drain_rate_per_min": None, "max_rate_per_min": -1}, "invalid"),
        ({"extra_signatures": ["v2"]}, "invalid"),
        ({"event_types": None}, "invalid"),
        ({"url": None}, "invalid"),
    ],
)
def test_wrong_setting_is_refused_and_nothing_changes(
    unchanged: tuple[Caller, Any], changes: dict[str, Any], expected: str
) -> None:
    owner, made = unchanged
    path = f"/endpoints/{made['id']}/"
    refused = owner.ask("PATCH", path, {"description": "lost", **changes})
    assert code(refused) == (400, expected)
    assert SECRET not in refused.content.decode()
    shown = owner.get(path).json()
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    created = owner.post("/endpoints/", {"url": URL, "event_types": ["*"], **changes})
    assert created.status_code == 400


def test_authorization_and_oauth2_are_refused_whoever_comes_first(
    owner: Caller,
) -> None:
    one, two = register(owner), register(owner)
    changed(owner, one, headers={"Authorization": "Basic eDp5"})
    refused = owner.ask("PATCH", f"/endpoints/{one['id']}/", {"oauth2": TOKENS})
    assert code(refused) == (400, "credentials_invalid")
    changed(owner, one, headers=None, oauth2=TOKENS)
    changed(owner, two, oauth2=TOKENS)
    headers = {"headers": {"authorization": "Basic eDp5"}}
    refused = owner.ask("PATCH", f"/endpoints/{two['id']}/", headers)
    assert code(refused) == (400, "credentials_invalid")
    changed(owner, two, oauth2=None, **headers)


def test_first_wish_for_v1a_makes_the_tenants_key(
    tenant: Tenant, owner: Caller
) -> None:
    assert owner.get("/signing-keys/").json()["results"] == []
    changed(owner, register(owner), extra_signatures=["v1a"])
    (key,) = owner.get("/signing-keys/").json()["results"]
    assert key["public"].startswith("whpk_")
    rotated = owner.post("/signing-keys/rotate/", {"overlap_s": 60}).json()["results"]
    assert [one["expires_at"] is None for one in rotated] == [True, False]
    assert rotated[1]["id"] == key["id"]
    with acting_for(tenant):
        assert SigningKey.objects.filter(tenant=tenant).count() == 2
