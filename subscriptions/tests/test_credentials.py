"""Custom headers, client certificates and OAuth 2 clients, before they are kept."""

from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from subscriptions.credentials import (
    CredentialsInvalid,
    checked_certificate,
    checked_headers,
    checked_oauth2,
)
from subscriptions.http.addresses import UrlInvalid
from subscriptions.tests.certificates import certified, key_pem

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
OAUTH2 = {
    "token_url": "https://127.0.0.1:9443/token",
    "client_id": "gridhook",
    "client_secret": "s3cret",
}


def refused(check: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(CredentialsInvalid) as refusal:
        check(*arguments, **options)
    return str(refusal.value)


def test_usual_headers_are_taken_as_they_are() -> None:
    wanted = {
        "X-Api-Key": "k-1",
        "Authorization": "Basic dXNlcjpwYXNz",
        "traceparent": "00-ab-cd-01",
        "X_Odd.Name~1": "a  b\tc",
        "Accept": "application/json",
    }
    assert checked_headers(wanted) == wanted
    assert checked_headers({}) == {}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        *((name, "connection itself") for name in ("Host", "Connection", "TE")),
        *((name, "connection itself") for name in ("Transfer-Encoding", "Expect")),
        *((name, "connection itself") for name in ("Upgrade", "Keep-Alive", "Trailer")),
        *((name, "platform sets it") for name in ("User-Agent", "webhook-id")),
        *((name, "platform sets it") for name in ("WebHook-Signature", "X-Hub-Any")),
        *((name, "platform sets it") for name in ("WebHook-Request-Origin", "Range")),
        *((name, "platform sets it") for name in ("Stripe-Signature", "Date")),
        *((name, "platform's") for name in ("Content-Type", "content-length")),
        *((name, "proxies") for name in ("X-Forwarded-For", "Via", "Proxy-Auth")),
        *((name, "proxies") for name in ("X-HTTP-Method-Override", "Forwarded")),
        *((name, "metadata") for name in ("Metadata-Flavor", "Metadata")),
        *(
            (name, "metadata")
            for name in ("X-aws-ec2-metadata-token", "Metadata-Token")
        ),
        *((name, "platform sets it") for name in ("Webhook_Id", "X_Hub-Signature_256")),
        *((name, "proxies") for name in ("X_Forwarded_For", "CF-Connecting-IP")),
        *((name, "browsers") for name in ("Cookie", "Sec-Fetch-Site", "Origin")),
        ("If-Match", "conditional"),
    ],
)
def test_header_that_is_not_the_owners_to_set_is_refused(name: str, why: str) -> None:
    words = refused(checked_headers, {name: "x"})
    assert name in words
    assert why in words


@pytest.mark.parametrize(
    "name", ["", "a b", "a:b", "a\r\nb", "é", "a\0", "(a)", "a;", " a", "a" * 65]
)
def test_name_that_is_no_token_is_refused(name: str) -> None:
    assert "name" in refused(checked_headers, {name: "x"})
    assert "s3cret" not in refused(checked_headers, {f"X-Key: s3cret{name}": "x"})


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        " x",
        "x ",
        "a\r\nX-B: c",
        "a\nb",
        "a\0b",
        "a\x7f",
        "é",
        "☃",
        7,
        None,
        [],
    ],
)
def test_value_that_could_become_another_header_is_refused(value: Any) -> None:
    words = refused(checked_headers, {"X-Api-Key": value})
    assert "X-Api-Key" in words


def test_headers_are_bounded_in_number_and_size() -> None:
    assert len(checked_headers({f"X-{n}": "v" for n in range(20)})) == 20
    assert "20" in refused(checked_headers, {f"X-{n}": "v" for n in range(21)})
    checked_headers({"X-Big": "v" * 4091})
    words = refused(checked_headers, {"X-Big": "v" * 4092})
    assert "4096 bytes" in words
    assert "vvv" not in words
    assert "twice" in refused(checked_headers, {"X-A": "1", "x-a": "2"})
    assert "an object" in refused(checked_headers, ["X-A: 1"])


@pytest.mark.parametrize(
    "key",
    [
        EC_KEY,
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["p256", "p384", "ed25519", "rsa2048"],
)
def test_certificate_with_its_key_is_taken(key: Any) -> None:
    chain = certified("meter.example", key, now=NOW) + certified("ca", EC_KEY, now=NOW)
    taken = checked_certificate(
        {"certificate": f"Bag: x\n{chain}\n", "key": f"note\n{key_pem(key)}"}, now=NOW
    )
    assert taken.subject == "CN=meter.example"
    assert taken.expires_at == NOW + timedelta(days=1)
    assert taken.certificate.count("BEGIN CERTIFICATE") == 2
    assert taken.certificate.startswith("-----BEGIN CERTIFICATE")
    assert taken.key.startswith("-----BEGIN PRIVATE KEY")
    assert "PRIVATE" not in repr(taken)


def test_certificate_that_cannot_be_used_is_refused_with_the_reason() -> None:
    pem, key = certified("a", EC_KEY, now=NOW), key_pem(EC_KEY)
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 (is refused)
    other = ec.generate_private_key(ec.SECP256R1())
    other_kind = ed448.Ed448PrivateKey.generate()
    short = ec.generate_private_key(ec.SECP192R1())
    # A version 8, which there is not.
    unknown = b64decode("".join(pem.splitlines()[1:-1])).replace(
        bytes.fromhex("a003020102"), bytes.fromhex("a003020107")
    )
    begin, end = (f"-----{word} CERTIFICATE-----\n" for word in ("BEGIN", "END"))
    odd = f"{begin}{b64encode(unknown).decode()}\n{end}"
    locked = EC_KEY.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"x"),
    ).decode()
    for wanted, now, why in [
        ({"certificate": pem, "key": key}, NOW + timedelta(days=2), "ended at 2026"),
        ({"certificate": pem, "key": key}, NOW - timedelta(days=2), "begins at 2026"),
        ({"certificate": pem, "key": key_pem(other)}, NOW, "not that of"),
        ({"certificate": pem, "key": locked}, NOW, "encrypted"),
        ({"certificate": pem, "key": key_pem(other_kind)}, NOW, "or Ed25519"),
        ({"certificate": pem, "key": key_pem(short)}, NOW, "256 bits"),
        ({"certificate": pem, "key": pem}, NOW, "key cannot be read"),
        ({"certificate": key, "key": key}, NOW, "certificate cannot be read"),
        ({"certificate": odd, "key": key}, NOW, "certificate cannot be read"),
        ({"certificate": pem * 11, "key": key}, NOW, "at most 10"),
        ({"certificate": "x" * 32_769, "key": key}, NOW, "32768"),
        ({"certificate": pem, "key": 7}, NOW, "key is missing"),
        ({"certificate": pem}, NOW, "key is missing"),
        ({"key": key}, NOW, "certificate is missing"),
        ([pem, key], NOW, "certificate is missing"),
        (
            {"certificate": certified("w", weak, now=NOW), "key": key_pem(weak)},
            NOW,
            "2048 bits",
        ),
    ]:
        words = refused(checked_certificate, wanted, now=now)
        assert why in words
        assert "BEGIN" not in words


def test_oauth2_client_is_taken() -> None:
    client = checked_oauth2({**OAUTH2, "scope": "hooks:write meters"})
    assert (client.client_id, client.scope) == ("gridhook", "hooks:write meters")
    assert "s3cret" not in repr(client)
    kept = {name: OAUTH2[name] for name in ("token_url", "client_id")}
    assert checked_oauth2(kept, is_secret_kept=True).client_secret == ""


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"client_id": ""}, "client_id"),
        ({"client_id": "a" * 256}, "client_id"),
        ({"client_id": "a\nb"}, "client_id"),
        ({"client_secret": None}, "client_secret"),
        ({"client_secret": "é"}, "client_secret"),
        ({"client_secret": 7}, "client_secret"),
        ({"scope": "a  b"}, "scope"),
        ({"scope": 'a"b'}, "scope"),
        ({"token_url": None}, "token_url"),
    ],
)
def test_oauth2_client_that_cannot_be_asked_with_is_refused(
    change: dict[str, Any], why: str
) -> None:
    assert why in refused(checked_oauth2, {**OAUTH2, **change})
    assert "object" in refused(checked_oauth2, "x")


@pytest.mark.parametrize(
    "url", ["http://8.8.8.8/token", "https://169.254.169.254/token", "https://a@b/"]
)
def test_token_url_stands_behind_the_same_wall(url: str) -> None:
    with pytest.raises(UrlInvalid, match="token_url"):
        checked_oauth2({**OAUTH2, "token_url": url})
