"""OAuth 2 client credentials, against a token server that checks."""

import base64
import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

import psycopg
import pytest
from django.conf import settings
from django.db.models.functions import Now
from django.test import override_settings

from subscriptions.http import Outcome
from subscriptions.models import Delivery, Endpoint
from subscriptions.sealing import Sealer
from subscriptions.services import tokens
from subscriptions.services.delivering.sending import deliver
from subscriptions.services.destinations import load, plain_request
from subscriptions.tests.delivering import (
    attempts,
    deliver_until,
    make_endpoint,
    publish_to,
)
from subscriptions.tests.receivers import Received, Reply, receiving
from tenants.database import acting_for, pipeline
from tenants.models import Tenant

SECRET = "s3cret:+/ %"  # noqa: S105 (of this test alone)
URL = "https://subscriber.example/hook"


def with_client(tenant: Tenant, token_url: str, **fields: Any) -> Endpoint:
    endpoint, _ = make_endpoint(tenant, fields.pop("url", URL))
    changed(
        endpoint,
        oauth2_token_url=token_url,
        oauth2_client_id="grid hook",
        oauth2_scope="hooks:write",
        sealed_oauth2_secret=Sealer(tenant.pk, endpoint.pk).oauth2_secret(SECRET),
        oauth2_due_at=datetime.fromisoformat("2026-01-01T00:00:00Z"),
        **fields,
    )
    return endpoint


def changed(endpoint: Endpoint, **values: Any) -> None:
    with acting_for(endpoint.tenant_id):
        Endpoint.objects.filter(pk=endpoint.pk).update(**values)


def row_of(endpoint: Endpoint) -> dict[str, Any]:
    names = ("step", "error", "token", "life_s", "due_s")
    with pipeline() as lane:
        row = lane.execute(
            """SELECT oauth2_step, oauth2_error, sealed_oauth2_token,
                extract(epoch FROM oauth2_expires_at - now())::float8,
                extract(epoch FROM oauth2_due_at - now())::float8
            FROM subscriptions_endpoint WHERE id = %s""",
            [endpoint.pk],
        ).fetchone()
    assert row is not None
    return dict(zip(names, row, strict=True))


def granting(**changes: Any) -> Callable[[Received], Reply]:
    body = {"access_token": "t.1-2_3", "token_type": "Bearer", "expires_in": 3600}
    content = json.dumps({**body, **changes}).encode()
    return lambda _: Reply(200, content)


def test_token_is_asked_for_and_sent_to_the_receiver_that_checks_it(
    tenant: Tenant,
) -> None:
    def server(received: Received) -> Reply:
        scheme, _, encoded = received.headers["authorization"].partition(" ")
        pair = base64.b64decode(encoded).decode()
        form = parse_qs(received.body.decode(), strict_parsing=True)
        is_right = (
            scheme == "Basic"
            and pair == "grid+hook:s3cret%3A%2B%2F+%25"
            and form == {"grant_type": ["client_credentials"], "scope": ["hooks:write"]}
            and received.method == "POST"
        )
        return granting()(received) if is_right else Reply(401, b"{}")

    with receiving(server) as token_server:
        endpoint = with_client(tenant, token_server.url)
        assert tokens.fetch_tokens() == 1
        assert tokens.fetch_tokens() == 0
    row = row_of(endpoint)
    assert (row["step"], row["error"]) == (0, "")
    assert 3590 < row["life_s"] <= 3600
    assert 2870 < row["due_s"] <= 2880
    assert b"t.1-2_3" not in bytes(row["token"])
    with pipeline() as lane, lane.cursor() as cursor:
        destination = load(cursor, [endpoint.pk])[endpoint.pk]
    headers = plain_request(destination, method="GET").headers
    assert "Authorization: Bearer t.1-2_3" in headers


def test_failures_back_off_and_say_why_while_the_old_token_lives(
    tenant: Tenant,
) -> None:
    reply = Reply(400, b'{"error": "invalid_client", "error_description": "s3cret"}')
    with receiving(lambda _: reply) as token_server:
        endpoint = with_client(
            tenant,
            token_server.url,
            sealed_oauth2_token=b"old",
            oauth2_expires_at=datetime.fromisoformat("2099-01-01T00:00:00Z"),
        )
        pauses = []
        row: dict[str, Any] = {}
        for _ in range(8):
            assert tokens.fetch_tokens() == 0
            row = row_of(endpoint)
            pauses.append(round(row["due_s"], -1))
            changed(endpoint, oauth2_due_at="2026-01-01T00:00:00Z")
        assert pauses == [30, 60, 120, 240, 480, 600, 600, 600]
        assert row["error"] == "Answered 400 (invalid_client)."
        assert (bytes(row["token"]), row["life_s"] > 0) == (b"old", True)
        token_server.behave = granting()
        assert tokens.fetch_tokens() == 1
    assert (row_of(endpoint)["step"], row_of(endpoint)["error"]) == (0, "")


def test_one_that_refuses_takes_no_token_from_another_asked_with_it(
    tenant: Tenant,
) -> None:
    with (
        receiving(granting(expires_in=10**9)) as willing,
        receiving(granting(expires_in=None)) as silent,
        receiving(lambda _: Reply(400, b"{}")) as refusing,
    ):
        servers = (willing, silent, refusing)
        endpoints = [with_client(tenant, server.url) for server in servers]
        assert tokens.fetch_tokens() == 2
    told = [row_of(endpoint)["error"] for endpoint in endpoints]
    assert told == ["", "", "Answered 400."]


def test_token_server_stands_behind_the_wall(tenant: Tenant) -> None:
    with receiving(granting()) as token_server:
        endpoint = with_client(tenant, token_server.url)
        with override_settings(CALLBACK_ALLOW_CIDRS=[]):
            assert tokens.fetch_tokens() == 0
        assert token_server.connections == 0
    assert "address_not_allowed" in row_of(endpoint)["error"]


def test_redirect_to_another_server_takes_no_secret_there(tenant: Tenant) -> None:
    with receiving(granting()) as thief:
        reply = Reply(307, headers={"Location": thief.url})
        with receiving(lambda _: reply) as token_server:
            endpoint = with_client(tenant, token_server.url)
            assert tokens.fetch_tokens() == 0
        assert thief.connections == 0
    assert row_of(endpoint)["error"] == "Answered 307."


def test_late_token_of_a_client_that_was_changed_meanwhile_is_refused(
    tenant: Tenant,
) -> None:
    def server(received: Received) -> Reply:
        with pipeline() as lane:
            lane.execute(
                """UPDATE subscriptions_endpoint
                SET oauth2_due_at = '2026-01-02T00:00:00Z' WHERE id = %s""",
                [endpoint.pk],
            )
        return granting()(received)

    with receiving(server) as token_server:
        endpoint = with_client(tenant, token_server.url)
        tokens.fetch_tokens()
        assert row_of(endpoint)["token"] == b""
        assert row_of(endpoint)["due_s"] < 0
        token_server.behave = granting()
        assert tokens.fetch_tokens() == 1


def test_secret_that_does_not_open_is_said_and_never_sent(tenant: Tenant) -> None:
    with receiving(granting()) as token_server:
        endpoint = with_client(tenant, token_server.url)
        changed(endpoint, sealed_oauth2_secret=b"1:moved from another row")
        assert tokens.fetch_tokens() == 0
        assert token_server.connections == 0
    assert "does not open" in row_of(endpoint)["error"]


def test_stopped_endpoint_asks_for_no_token(tenant: Tenant) -> None:
    with receiving(granting()) as token_server:
        with_client(tenant, token_server.url, status="paused")
        with_client(tenant, token_server.url, deleted_at="2026-01-01T00:00:00Z")
        assert tokens.fetch_tokens() == 0
        assert token_server.connections == 0


def test_receivers_401_renews_a_token_that_is_not_fresh(tenant: Tenant) -> None:
    with receiving(granting()) as token_server:
        endpoint = with_client(tenant, token_server.url)
        tokens.fetch_tokens()

        def make_due() -> float:
            with pipeline() as lane, lane.cursor() as cursor:
                tokens.make_due(cursor, [endpoint.pk])
                tokens.make_due(cursor, [])
            return float(row_of(endpoint)["due_s"])

        assert make_due() > 2000
        changed(endpoint, oauth2_asked_at="2026-01-01T00:00:00Z", oauth2_error="x")
        assert make_due() > 2000
        changed(endpoint, oauth2_error="")
        with psycopg.connect(settings.DATABASE_URL) as rival:
            rival.execute(
                "SELECT FROM subscriptions_endpoint WHERE id = %s FOR UPDATE",
                [endpoint.pk],
            )
            assert make_due() > 2000
        assert make_due() <= 0
        assert tokens.fetch_tokens() == 1
        assert make_due() > 2000


def test_messages_wait_for_a_token_and_a_401_brings_another(tenant: Tenant) -> None:
    issued = ["first", "second"]
    valid = "first"

    def server(received: Received) -> Reply:
        return granting(access_token=issued.pop(0))(received)

    def receiver(received: Received) -> Reply:
        is_known = received.headers.get("authorization") == f"Bearer {valid}"
        return Reply(204 if is_known else 401)

    with receiving(server) as token_server, receiving(receiver) as subscriber:
        endpoint = with_client(tenant, token_server.url, url=subscriber.url)
        publish_to(tenant)
        deliver()
        assert (attempts(tenant), subscriber.requests) == ([], [])
        assert tokens.fetch_tokens() == 1
        deliver_until(tenant, "delivered")
        assert tokens.fetch_tokens() == 0
        valid = "second"
        changed(endpoint, oauth2_asked_at="2026-01-01T00:00:00Z")
        publish_to(tenant)
        deliver()
        assert tokens.fetch_tokens() == 1
        with acting_for(tenant):
            waiting = Delivery.objects.filter(tenant=tenant, status="pending")
            assert waiting.update(next_attempt_at=Now()) == 1
        deliver_until(tenant, "delivered")
    found = sorted((one.number, one.status_code or 0) for one in attempts(tenant))
    assert found == [(1, 204), (1, 401), (2, 204)]


def outcome(body: bytes, status_code: int = 200) -> Outcome:
    return Outcome(status_code, "", "", {}, body, "", time.monotonic(), 0.0)


@pytest.mark.parametrize(
    ("reply", "life_s"),
    [
        ({}, 300),
        ({"expires_in": 60}, 60),
        ({"expires_in": "3599"}, 3599),
        ({"expires_in": 59.5}, 59.5),
        ({"expires_in": 10**9}, 86_400),
        ({"expires_in": None, "extra": [1]}, 300),
        ({"token_type": "bearer"}, 300),
    ],
)
def test_usual_answers_are_read(reply: dict[str, Any], life_s: float) -> None:
    body = {"access_token": "abc", "token_type": "Bearer", **reply}
    answer = tokens.read(outcome(json.dumps(body).encode()))
    assert (answer.token, answer.life_s, answer.error) == ("abc", life_s, "")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "RFC 6749"),
        (b"[" * 60_000, "RFC 6749"),
        (b"\xff\xfe", "RFC 6749"),
        (b'{"access_token": 7, "token_type": "Bearer"}', "RFC 6749"),
        (b'{"token_type": "Bearer"}', "RFC 6749"),
        (b'{"access_token": "a"}', "RFC 6749"),
        (b'{"access_token": "", "token_type": "Bearer"}', "empty"),
        (b'{"access_token": "a\\r\\nX: y", "token_type": "Bearer"}', "visible"),
        (b'{"access_token": "a b", "token_type": "Bearer"}', "visible"),
        (b'{"access_token": "\xc3\xa9", "token_type": "Bearer"}', "visible"),
        (b'{"access_token": "%s", "token_type": "Bearer"}' % (b"x" * 8193), "long"),
        (b'{"access_token": "a", "token_type": "mac"}', "Bearer"),
        (b'{"access_token": "a", "token_type": "Bearer", "expires_in": 0}', "short"),
        (b'{"access_token": "a", "token_type": "Bearer", "expires_in": 10}', "short"),
        (b'{"access_token": "a", "token_type": "Bearer", "expires_in": -5}', "short"),
        (b'{"access_token": "a", "token_type": "Bearer", "expires_in": []}', "RFC"),
    ],
)
def test_answer_without_a_usable_token_is_said(body: bytes, words: str) -> None:
    answer = tokens.read(outcome(body))
    assert answer.token == ""
    assert words in answer.error


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"error": ["invalid_grant"]}', b'{"error": "s3cret"}']
)
def test_refusals_code_is_shown_only_if_it_is_one(body: bytes) -> None:
    assert tokens.read(outcome(body, 400)).error == "Answered 400."
