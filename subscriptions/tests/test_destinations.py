"""What a request to an endpoint needs, and the signed request."""

import hashlib
import hmac
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import stripe
from standardwebhooks import Webhook

from subscriptions.models import Endpoint, SigningKey
from subscriptions.sealing import Sealer
from subscriptions.services.destinations import (
    Destination,
    load,
    plain_request,
    signed_request,
)
from subscriptions.services.signing_keys import ensure_key
from subscriptions.tests.delivering import add_secret, make_endpoint
from tenants.database import acting_for, pipeline
from tenants.models import Tenant
from tenants.services import NewTenant
from tenants.signing import parse_public, verify_ed25519

URL = "https://subscriber.example/hook"
BODY = b'{"b": 1, "a": "\xc3\xa9"}\n'


def loaded(endpoint: Endpoint, **options: Any) -> Destination:
    with pipeline() as lane, lane.cursor() as cursor:
        return load(cursor, [endpoint.pk], **options)[endpoint.pk]


def fields(headers: Any) -> dict[str, str]:
    pairs = (line.partition(": ") for line in headers)
    return {name.lower(): value for name, _, value in pairs}


def changed(endpoint: Endpoint, **values: Any) -> None:
    with acting_for(endpoint.tenant_id):
        Endpoint.objects.filter(pk=endpoint.pk).update(**values)


def test_request_is_signed_by_every_secret_in_force(tenant: Tenant) -> None:
    endpoint, older = make_endpoint(tenant, URL)
    with acting_for(tenant):
        newest = add_secret(endpoint)
        add_secret(endpoint, expires_at=datetime.now(tz=UTC) - timedelta(seconds=1))
    request = signed_request(loaded(endpoint), "msg_1", int(time.time()), BODY)
    sent = fields(request.headers)
    assert (request.url, request.body, request.method) == (URL, BODY, "POST")
    assert sent["content-type"] == "application/json"
    assert len(sent["webhook-signature"].split()) == 2
    for secret in (older, newest):
        Webhook(secret).verify(BODY, sent)
    digest = hmac.new(newest.encode(), BODY, hashlib.sha256).hexdigest()
    assert sent["x-hub-signature-256"] == f"sha256={digest}"
    assert "stripe-signature" not in sent
    assert "authorization" not in sent


def test_extra_signatures_are_added_when_asked_for(tenant: Tenant) -> None:
    endpoint, secret = make_endpoint(tenant, URL, extra_signatures=["v1a", "stripe"])
    with acting_for(tenant):
        key = ensure_key(tenant)
    sent = fields(
        signed_request(loaded(endpoint), "msg_2", int(time.time()), BODY).headers
    )
    stripe.WebhookSignature.verify_header(
        BODY.decode(), sent["stripe-signature"], secret, tolerance=300
    )
    assert verify_ed25519(
        [parse_public(key.public)],
        message_id="msg_2",
        timestamp=sent["webhook-timestamp"],
        header=sent["webhook-signature"],
        body=BODY,
        now_s=int(time.time()),
    )
    Webhook(secret).verify(BODY, {**sent, "webhook-signature": only_v1(sent)})


def only_v1(sent: dict[str, str]) -> str:
    items = sent["webhook-signature"].split()
    assert [item.partition(",")[0] for item in items] == ["v1", "v1a"]
    return items[0]


def test_credentials_travel_with_messages_and_handshakes(tenant: Tenant) -> None:
    endpoint, _ = make_endpoint(tenant, URL, proposed_url=f"{URL}/new")
    sealer = Sealer(tenant.pk, endpoint.pk)
    changed(
        endpoint,
        sealed_headers=sealer.headers({"X-Api-Key": "k 1", "X-Site": "7"}),
        sealed_certificate=sealer.certificate("CERT", "KEY"),
        sealed_oauth2_token=sealer.oauth2_token("t.o.k"),
    )
    destination = loaded(endpoint)
    for request in (
        signed_request(destination, "msg_3", int(time.time()), BODY, "application/x"),
        plain_request(destination, method="OPTIONS", headers=["A: b"]),
    ):
        sent = fields(request.headers)
        assert (sent["x-api-key"], sent["x-site"]) == ("k 1", "7")
        assert sent["authorization"] == "Bearer t.o.k"
        assert sent["webhook-request-origin"] == "127.0.0.1"
        assert request.certificate == (b"CERT", b"KEY")
        assert "k 1" not in repr(destination)
        assert "KEY" not in repr(request)
        assert "whsec_" not in repr(destination)
    assert request.method == "OPTIONS"
    assert request.url == URL
    assert loaded(endpoint, is_proposed=True).url == f"{URL}/new"


def test_sealed_value_of_another_endpoint_or_use_leaves_nothing_to_sign_with(
    tenant: Tenant, stranger: NewTenant
) -> None:
    endpoint, _ = make_endpoint(tenant, URL)
    other, _ = make_endpoint(stranger.tenant, URL)
    mine = Sealer(tenant.pk, endpoint.pk)
    for stolen in (
        Sealer(stranger.tenant.pk, other.pk).headers({"A": "b"}),
        Sealer(tenant.pk, other.pk).headers({"A": "b"}),
        mine.oauth2_secret('{"A": "b"}'),
    ):
        changed(endpoint, sealed_headers=stolen)
        assert loaded(endpoint).secrets == ()
        assert loaded(endpoint).headers == ()
    changed(endpoint, sealed_headers=mine.headers({"A": "b"}))
    assert loaded(endpoint).headers == ("A: b",)


def test_who_asked_for_v1a_is_sent_nothing_while_no_key_opens(tenant: Tenant) -> None:
    endpoint, secret = make_endpoint(tenant, URL, extra_signatures=["v1a"])
    with acting_for(tenant):
        key = ensure_key(tenant)
        SigningKey.objects.filter(pk=key.pk).update(sealed=b"1:of another row")
    assert loaded(endpoint).secrets == ()
    changed(endpoint, extra_signatures=[])
    assert loaded(endpoint).secrets == (secret,)


def test_each_endpoint_has_its_own(tenant: Tenant, stranger: NewTenant) -> None:
    first, first_secret = make_endpoint(tenant, URL, extra_signatures=["v1a"])
    second, second_secret = make_endpoint(stranger.tenant, URL)
    with acting_for(tenant):
        ensure_key(tenant)
    with pipeline() as lane, lane.cursor() as cursor:
        found = load(cursor, [first.pk, second.pk])
        again = load(cursor, [first.pk])
        assert load(cursor, []) == {}
    assert found[first.pk].secrets == (first_secret,)
    assert found[second.pk].secrets == (second_secret,)
    assert len(found[first.pk].signing_keys) == 1
    assert found[second.pk].signing_keys == ()
    # Opened once: what is remembered is the very same.
    assert again[first.pk] is found[first.pk]
