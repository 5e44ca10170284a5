"""The consent handshakes, with receivers that agree, refuse and misbehave."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test import override_settings

from subscriptions.consent import RATE_LIMIT_PER_MIN, origin
from subscriptions.consent_rules import SCHEDULE_S
from subscriptions.http.addresses import URL_CHARACTERS
from subscriptions.models import Endpoint
from subscriptions.services.consenting import ask_consent
from subscriptions.services.endpoints import (
    create_endpoint,
    request_verification,
    resume_endpoint,
    update_endpoint,
)
from subscriptions.tests.receivers import Received, Reply, receiving
from tenants.actors import Actor
from tenants.database import acting_for, pipeline
from tenants.models import AuditEntry, Tenant


def register(tenant: Tenant, actor: Actor, url: str) -> Endpoint:
    with acting_for(tenant):
        endpoint, _ = create_endpoint(
            tenant=tenant, actor=actor, url=url, event_types=["*"]
        )
    return endpoint


def reread(endpoint: Endpoint) -> Endpoint:
    with acting_for(endpoint.tenant_id):
        endpoint.refresh_from_db()
    return endpoint


def due_in_s(endpoint: Endpoint) -> float:
    assert endpoint.consent_due_at is not None
    return (endpoint.consent_due_at - datetime.now(tz=UTC)).total_seconds()


def echoing(received: Received) -> Reply:
    """Agree as a WebSub subscriber does."""
    if received.method != "GET":
        return Reply(405)
    query = parse_qs(urlsplit(received.path).query)
    return Reply(200, query["hub.challenge"][0].encode())


def options_only(**headers: str) -> Callable[[Received], Reply]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def behave(received: Received) -> Reply:
        is_options = received.method == "OPTIONS"
        return Reply(200, headers=named) if is_options else Reply(404)

    return behave


@pytest.mark.parametrize("allowed", ["*", "127.0.0.1", "other.example, 127.0.0.1"])
def test_options_that_names_the_origin_is_consent(
    tenant: Tenant, actor: Actor, allowed: str
) -> None:
    with receiving(options_only(WebHook_Allowed_Origin=allowed)) as receiver:
        endpoint = register(tenant, actor, receiver.url)
        assert endpoint.status == "pending"
        ask_consent()
    (asked,) = receiver.requests
    assert asked.headers["webhook-request-origin"] == "127.0.0.1"
    assert reread(endpoint).status == "active"
    assert endpoint.consented_at is not None
    assert endpoint.consent_expires_at == endpoint.consented_at + timedelta(days=30)
    assert endpoint.consent_due_at == endpoint.consented_at + timedelta(days=24)
    assert endpoint.allowed_rate_per_min is None


def test_the_longest_url_that_is_taken_can_consent_by_the_challenge(
    tenant: Tenant, actor: Actor
) -> None:
    with receiving(echoing) as receiver:
        url = f"{receiver.url}?key=".ljust(URL_CHARACTERS, "x")
        endpoint = register(tenant, actor, url)
        ask_consent()
    assert reread(endpoint).status == "active", endpoint.status_detail


@pytest.mark.parametrize(
    ("console", "name"),
    [
        ("https://gridhook.example", "gridhook.example"),
        ("http://10.1.2.3:8000/", "10.1.2.3"),
        ("http://[fd00::7]:8000", "fd00::7"),
    ],
)
def test_platform_asks_under_its_consoles_host(console: str, name: str) -> None:
    with override_settings(CONSOLE_URL=console):
        assert origin() == name


def test_granted_rate_becomes_the_endpoints(tenant: Tenant, actor: Actor) -> None:
    behave = options_only(WebHook_Allowed_Origin="*", WebHook_Allowed_Rate="120")
    with receiving(behave) as receiver:
        endpoint = register(tenant, actor, receiver.url)
        ask_consent()
    assert reread(endpoint).allowed_rate_per_min == 120


@pytest.mark.parametrize("rate", ["9" * 9, "1" * 5000, "0001000001"])
def test_rate_beyond_all_bounds_is_granted_as_the_highest_there_is(
    tenant: Tenant, actor: Actor, rate: str
) -> None:
    behave = options_only(WebHook_Allowed_Origin="*", WebHook_Allowed_Rate=rate)
    with receiving(behave) as receiver:
        endpoint = register(tenant, actor, receiver.url)
        ask_consent()
    assert reread(endpoint).allowed_rate_per_min == RATE_LIMIT_PER_MIN


def test_consent_that_comes_back_begins_the_count_of_failures_anew(
    tenant: Tenant, actor: Actor
) -> None:
    with receiving(echoing) as receiver:
        endpoint = register(tenant, actor, receiver.url)
        for is_kept in (False, True):
            since = datetime.now(tz=UTC) - timedelta(days=9)
            with acting_for(tenant):
                Endpoint.objects.filter(pk=endpoint.pk).update(
                    failing_since=since, failing_warned=90
                )
                request_verification(tenant=tenant, actor=actor, endpoint=endpoint)
            ask_consent()
            assert reread(endpoint).status == "active"
            # One that is renewed without a gap says nothing of how messages fared.
            assert endpoint.failing_since == (since if is_kept else None)
            assert endpoint.failing_warned == (90 if is_kept else 0)


@pytest.mark.parametrize("rate", ["*", "many", "-1", "60.0", "1,000", "", "¹"])
def test_rate_that_is_no_number_is_no_limit_and_lifts_none(
    tenant: Tenant, actor: Actor, rate: str
) -> None:
    behave = options_only(WebHook_Allowed_Origin="*", WebHook_Allowed_Rate=rate)
    with receiving(behave) as receiver:
        endpoint = register(tenant, actor, receiver.url)
        ask_consent()
        assert reread(endpoint).status == "active"
        assert endpoint.allowed_rate_per_min is None
        with acting_for(tenant):
            Endpoint.objects.filter(pk=endpoint.pk).update(allowed_rate_per_min=60)
            request_verification(tenant=tenant, actor=actor, endpoint=endpoint)
        ask_consent()
    is_said = rate != "*"
    assert ("is no number" in reread(endpoint).status_detail) is is_said
    assert endpoint.allowed_rate_per_min == (60 if is_said else None)


@pytest.mark.parametrize("rate", ["0", "0" * 20])
def test_grant_of_no_request_at_all_is_a_refusal(
    tenant: Tenant, actor: Actor, rate: str
) -> None:
    behave = options_only(WebHook_Allowed_Origin="*", WebHook_Allowed_Rate=rate)
    with receiving(behave) as receiver:
        endpoint = register(tenant, actor, receiver.url)
        ask_consent()
    assert reread(endpoint).status == "pending"
    assert "granted 0 requests a minute" in endpoint.status_detail
    assert [one.method for one in receiver.requests] == ["OPTIONS"]


def test_echoed_challenge_is_consent(tenant: Tenant, actor: Actor) -> None:
    with receiving(echoing) as receiver:
        endpoint = register(tenant, actor, f"{receiver.url}?key=a%20b")
        ask_consent()
    asked = receiver.requests[-1]
    query = parse_qs(urlsplit(asked.path).query)
    assert query["hub.mode"] == ["subscribe"]
    assert query["key"] == ["a b"]
    assert query["hub.topic"][0].endswith(f"/endpoints/{endpoint.public_id}/")
    assert query["hub.lease_seconds"] == ["2592000"]
    assert reread(endpoint).status == "active"


def refusals() -> list[Any]:
    return [
        pytest.param(lambda _: Reply(404), "answered 404", id="404"),
        pytest.param(lambda _: Reply(200, b"hello"), "without the challenge", id="200"),
        pytest.param(
            options_only(WebHook_Allowed_Origin="other.example"), "404", id="other"
        ),
        pytest.param(lambda _: b"", "The connection broke off", id="reset"),
        pytest.param(
            lambda _: Reply(302, headers={"WebHook-Allowed-Origin": "*"}),
            "answered 302",
            id="302",
        ),
    ]


@pytest.mark.parametrize(("behave", "words"), refusals())
def test_anything_else_leaves_it_pending_and_says_why(
    tenant: Tenant, actor: Actor, behave: Any, words: str
) -> None:
    with receiving(behave) as receiver:
        endpoint = register(tenant, actor, receiver.url)
        ask_consent()
    assert reread(endpoint).status == "pending"
    assert words in endpoint.status_detail
    assert endpoint.consented_at is None
    assert 25 < due_in_s(endpoint) <= 30


@override_settings(CALLBACK_ALLOW_CIDRS=["10.0.0.0/8"])
def test_handshake_dials_no_forbidden_address(tenant: Tenant, actor: Actor) -> None:
    with receiving() as receiver:
        with override_settings(CALLBACK_ALLOW_CIDRS=["127.0.0.0/8"]):
            endpoint = register(tenant, actor, receiver.url)
        ask_consent()
    assert receiver.connections == 0
    assert "address is private" in reread(endpoint).status_detail


def test_questions_end_with_the_schedule(tenant: Tenant, actor: Actor) -> None:
    with receiving(lambda _: Reply(404)) as receiver:
        endpoint = register(tenant, actor, receiver.url)
        with acting_for(tenant):
            Endpoint.objects.filter(pk=endpoint.pk).update(consent_step=len(SCHEDULE_S))
        ask_consent()
        assert reread(endpoint).consent_due_at is None
        with acting_for(tenant):
            request_verification(tenant=tenant, actor=actor, endpoint=endpoint)
        receiver.behave = echoing
        ask_consent()
    assert reread(endpoint).status == "active"
    assert sum(SCHEDULE_S) == 30 + 120 + 600 + 86_400


def test_active_endpoint_that_is_asked_again_in_vain_stays_active(
    tenant: Tenant, actor: Actor
) -> None:
    with receiving(echoing) as receiver:
        endpoint = register(tenant, actor, receiver.url)
        ask_consent()
        receiver.behave = lambda _: Reply(500)
        with acting_for(tenant):
            request_verification(tenant=tenant, actor=actor, endpoint=endpoint)
        ask_consent()
    assert reread(endpoint).status == "active"
    assert "500" in endpoint.status_detail
    assert 25 < due_in_s(endpoint) <= 30


def test_late_answer_does_not_consent_for_another_url(
    tenant: Tenant, actor: Actor
) -> None:
    with receiving() as receiver:
        endpoint = register(tenant, actor, receiver.url)

        def agree_while_the_url_changes(received: Received) -> Reply:
            with acting_for(tenant):
                update_endpoint(
                    tenant=tenant,
                    actor=actor,
                    endpoint=endpoint,
                    changes={"url": f"{receiver.url}/elsewhere"},
                )
            connection.close()
            return Reply(200, headers={"WebHook-Allowed-Origin": "*"})

        receiver.behave = agree_while_the_url_changes
        ask_consent()
        assert reread(endpoint).status == "pending"
        receiver.behave = lambda _: Reply(200, headers={"WebHook-Allowed-Origin": "*"})
        ask_consent()
    assert reread(endpoint).status == "active"
    assert receiver.requests[-1].path == "/hook/elsewhere"


@pytest.mark.parametrize("stopped", ["paused", "disabled"])
def test_new_url_of_a_stopped_endpoint_is_asked_when_it_is_resumed(
    tenant: Tenant, actor: Actor, stopped: str
) -> None:
    agree = options_only(WebHook_Allowed_Origin="*")
    with receiving(agree) as receiver:
        endpoint = register(tenant, actor, "https://subscriber.example/")
        with acting_for(tenant):
            Endpoint.objects.filter(pk=endpoint.pk).update(
                status=stopped, consented_at=datetime.now(tz=UTC)
            )
            update_endpoint(
                tenant=tenant,
                actor=actor,
                endpoint=endpoint,
                changes={"url": receiver.url},
            )
        ask_consent()
        assert (reread(endpoint).status, receiver.requests) == (stopped, [])
        with acting_for(tenant):
            resume_endpoint(tenant=tenant, actor=actor, endpoint=endpoint)
        assert reread(endpoint).status == "pending"
        ask_consent()
    assert reread(endpoint).status == "active"


def test_new_url_that_answers_410_is_given_up(tenant: Tenant, actor: Actor) -> None:
    with receiving() as old, receiving(lambda _: Reply(410)) as new:
        endpoint = register(tenant, actor, old.url)
        ask_consent()
        with acting_for(tenant):
            changes = {"url": new.url}
            update_endpoint(
                tenant=tenant, actor=actor, endpoint=endpoint, changes=changes
            )
        ask_consent()
        assert reread(endpoint).status == "active"
        assert (endpoint.url, endpoint.proposed_url) == (old.url, "")
        assert "The new URL is given up" in endpoint.status_detail
        assert due_in_s(endpoint) > timedelta(days=23).total_seconds()
        asked = len(new.requests)
        with acting_for(tenant):
            Endpoint.objects.update(consent_due_at=datetime.now(tz=UTC))
        ask_consent()
    assert (len(old.requests), len(new.requests)) == (2, asked)
    with acting_for(tenant):
        told = AuditEntry.objects.get(action="endpoint.url_given_up")
    assert told.detail["url"] == new.url


def test_question_of_a_worker_that_died_is_asked_again_after_the_lease(
    tenant: Tenant, actor: Actor
) -> None:
    with receiving() as receiver:
        endpoint = register(tenant, actor, receiver.url)
        with pipeline() as lane:
            lane.execute(
                "UPDATE subscriptions_endpoint SET consent_due_at = now() + "
                "interval '60 s', consent_step = 1 WHERE id = %s",
                [endpoint.pk],
            )
        ask_consent()
        assert receiver.requests == []
        with acting_for(tenant):
            Endpoint.objects.filter(pk=endpoint.pk).update(
                consent_due_at=datetime.now(tz=UTC) - timedelta(seconds=1)
            )
        ask_consent()
    assert reread(endpoint).status == "active"
