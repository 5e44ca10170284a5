"""Consent over time: renewed, withdrawn, lapsed, and moved to another URL."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test import override_settings

from subscriptions.models import ConsentStep, Endpoint
from subscriptions.sealing import Sealer
from subscriptions.services.consenting import ask_consent
from subscriptions.services.endpoints import (
    create_endpoint,
    pause_endpoint,
    resume_endpoint,
    update_endpoint,
    withdraw_consent,
)
from subscriptions.tests.receivers import (
    Received,
    Receiver,
    Reply,
    consenting,
    receiving,
)
from tenants.actors import Actor
from tenants.database import acting_for
from tenants.models import AuditEntry, Mail, Tenant

TOKENS = {"client_id": "gridhook", "client_secret": "nobody's"}
YES = {"WebHook-Allowed-Origin": "*"}


def consented(tenant: Tenant, actor: Actor, url: str, **settings: Any) -> Endpoint:
    """Register an endpoint whose receiver has agreed."""
    with acting_for(tenant):
        endpoint, _ = create_endpoint(
            tenant=tenant,
            actor=actor,
            url=url,
            event_types=["*"],
            settings=settings or None,  # type: ignore[arg-type]  # names as given
        )
    ask_consent()
    assert reread(endpoint).status == "active"
    return endpoint


def reread(endpoint: Endpoint) -> Endpoint:
    with acting_for(endpoint.tenant_id):
        endpoint.refresh_from_db()
    return endpoint


def move_lease(endpoint: Endpoint, *, ends_in: timedelta) -> None:
    """Let the lease's end come near, and the renewal be due."""
    now = datetime.now(tz=UTC)
    with acting_for(endpoint.tenant_id):
        Endpoint.objects.filter(pk=endpoint.pk).update(
            consent_expires_at=now + ends_in, consent_due_at=now - timedelta(seconds=1)
        )


def steps(endpoint: Endpoint) -> list[str]:
    with acting_for(endpoint.tenant_id):
        found = ConsentStep.objects.filter(endpoint=endpoint).order_by("at", "id")
        return [one.step for one in found]


def audited(tenant: Tenant) -> list[str]:
    with acting_for(tenant):
        found = AuditEntry.objects.filter(tenant=tenant).order_by("at", "id")
        return [one.action for one in found if one.action.startswith("endpoint.")]


def mails(tenant: Tenant) -> list[str]:
    with acting_for(tenant):
        return list(
            Mail.objects.filter(tenant=tenant).values_list("subject", flat=True)
        )


def change_url(tenant: Tenant, actor: Actor, endpoint: Endpoint, url: str) -> None:
    with acting_for(tenant):
        update_endpoint(
            tenant=tenant, actor=actor, endpoint=endpoint, changes={"url": url}
        )


def test_renewal_is_quiet_and_begins_the_lease_anew(
    tenant: Tenant, actor: Actor
) -> None:
    with receiving() as receiver:
        endpoint = consented(tenant, actor, receiver.url)
        move_lease(endpoint, ends_in=timedelta(days=5))
        ask_consent()
    assert reread(endpoint).status == "active"
    assert endpoint.consent_expires_at is not None
    left = endpoint.consent_expires_at - datetime.now(tz=UTC)
    assert left > timedelta(days=29, hours=23)
    assert steps(endpoint) == ["options", "granted"] * 2
    assert audited(tenant) == ["endpoint.created"]
    assert mails(tenant) == []


@pytest.mark.parametrize("status", [401, 404, 200, 410])
def test_refusal_at_a_renewal_withdraws_and_tells(
    tenant: Tenant, actor: Actor, status: int
) -> None:
    with receiving() as receiver:
        endpoint = consented(tenant, actor, receiver.url)
        receiver.behave = lambda _: Reply(status)
        move_lease(endpoint, ends_in=timedelta(days=5))
        ask_consent()
    assert reread(endpoint).status == "pending"
    assert "withdrawn" in endpoint.status_detail
    assert endpoint.consented_at is endpoint.consent_expires_at is None
    assert steps(endpoint)[-1] == "withdrawn"
    assert audited(tenant)[-1] == "endpoint.consent_withdrawn"
    (subject,) = mails(tenant)
    assert endpoint.public_id in subject
    assert (endpoint.consent_due_at is None) == (status == 410)


@pytest.mark.parametrize("status", [500, 429, 302])
def test_trouble_at_a_renewal_lapses_only_when_the_lease_is_over(
    tenant: Tenant, actor: Actor, status: int
) -> None:
    with receiving() as receiver:
        endpoint = consented(tenant, actor, receiver.url)
        receiver.behave = lambda _: Reply(status)
        move_lease(endpoint, ends_in=timedelta(seconds=20))
        ask_consent()
        assert reread(endpoint).status == "active"
        # Asked again no later than the lease ends.
        assert endpoint.consent_due_at == endpoint.consent_expires_at
        move_lease(endpoint, ends_in=timedelta(seconds=-1))
        ask_consent()
    assert reread(endpoint).status == "pending"
    assert "lease is over" in endpoint.status_detail
    assert steps(endpoint)[-1] == "lapsed"
    assert audited(tenant)[-1] == "endpoint.consent_lapsed"
    assert len(mails(tenant)) == 1


def test_old_url_stays_in_force_until_the_new_one_consents(
    tenant: Tenant, actor: Actor
) -> None:
    with receiving() as old, receiving(lambda _: Reply(404)) as new:
        endpoint = consented(tenant, actor, old.url)
        change_url(tenant, actor, endpoint, new.url)
        ask_consent()
        assert reread(endpoint).status == "active"
        assert (endpoint.url, endpoint.proposed_url) == (old.url, new.url)
        assert "The new URL" in endpoint.status_detail
        new.behave = consenting
        ask_again(endpoint)
        assert (reread(endpoint).url, endpoint.proposed_url) == (new.url, "")
    assert endpoint.status == "active"
    assert audited(tenant)[-1] == "endpoint.url_changed"
    assert steps(endpoint)[-2:] == ["options", "granted"]


def ask_again(endpoint: Endpoint) -> None:
    with acting_for(endpoint.tenant_id):
        Endpoint.objects.filter(pk=endpoint.pk).update(
            consent_due_at=datetime.now(tz=UTC) - timedelta(seconds=1)
        )
    ask_consent()


def test_url_that_is_taken_back_is_not_moved_to_by_a_late_yes(
    tenant: Tenant, actor: Actor
) -> None:
    with receiving() as old, receiving() as new:
        endpoint = consented(tenant, actor, old.url)
        change_url(tenant, actor, endpoint, new.url)

        def take_back(_: Any) -> Reply:
            change_url(tenant, actor, endpoint, old.url)
            connection.close()
            return Reply(200, headers=YES)

        new.behave = take_back
        ask_consent()
    assert (reread(endpoint).url, endpoint.proposed_url) == (old.url, "")
    assert endpoint.status == "active"
    assert endpoint.consent_expires_at is not None
    before_end = endpoint.consent_expires_at - timedelta(days=6)
    assert endpoint.consent_due_at == before_end


def test_granted_rate_and_asked_rate_meet(tenant: Tenant, actor: Actor) -> None:
    def grant(_: Any) -> Reply:
        return Reply(200, headers={**YES, "WebHook-Allowed-Rate": "90"})

    with receiving(grant) as receiver:
        endpoint = consented(tenant, actor, receiver.url, max_rate_per_min=600)
    assert receiver.requests[0].headers["webhook-request-rate"] == "600"
    assert receiver.requests[0].headers["webhook-request-origin"] == "127.0.0.1"
    assert reread(endpoint).allowed_rate_per_min == 90


@pytest.mark.parametrize(("options", "rate"), [(503, 90), (404, None)])
def test_renewal_by_challenge_ends_a_rate_only_if_options_was_answered(
    tenant: Tenant, actor: Actor, options: int, rate: int | None
) -> None:
    def echo(received: Received) -> Reply:
        if received.method == "OPTIONS":
            return Reply(options)
        (challenge,) = parse_qs(urlsplit(received.path).query)["hub.challenge"]
        return Reply(200, challenge.encode())

    headers = {**YES, "WebHook-Allowed-Rate": "90"}
    with receiving(lambda _: Reply(200, headers=headers)) as receiver:
        endpoint = consented(tenant, actor, receiver.url)
        receiver.behave = echo
        move_lease(endpoint, ends_in=timedelta(days=5))
        ask_consent()
    assert steps(endpoint)[-3:] == ["options", "challenge", "granted"]
    assert reread(endpoint).allowed_rate_per_min == rate


def test_handshakes_carry_the_endpoints_credentials(
    tenant: Tenant, actor: Actor
) -> None:
    with receiving(lambda _: Reply(404)) as receiver:
        with acting_for(tenant):
            create_endpoint(
                tenant=tenant,
                actor=actor,
                url=receiver.url,
                event_types=["*"],
                settings={"headers": {"X-Api-Key": "k-1"}},
            )
        ask_consent()
    asked = [(one.method, one.headers["x-api-key"]) for one in receiver.requests]
    assert asked == [("OPTIONS", "k-1"), ("GET", "k-1")]
    origins = [one.headers["webhook-request-origin"] for one in receiver.requests]
    assert origins == ["127.0.0.1", "127.0.0.1"]


def test_receiver_behind_tokens_is_asked_once_there_is_one(
    tenant: Tenant, actor: Actor
) -> None:
    with receiving() as receiver:
        with acting_for(tenant):
            endpoint, _ = create_endpoint(
                tenant=tenant,
                actor=actor,
                url=receiver.url,
                event_types=["*"],
                settings={"oauth2": {**TOKENS, "token_url": receiver.url}},
            )
        ask_consent()
        assert receiver.requests == []
        with acting_for(tenant):
            sealed = Sealer(tenant.pk, endpoint.pk).oauth2_token("t-1")
            Endpoint.objects.filter(pk=endpoint.pk).update(
                sealed_oauth2_token=sealed,
                oauth2_expires_at=datetime.now(tz=UTC) + timedelta(minutes=5),
            )
        ask_consent()
    assert reread(endpoint).status == "active"
    (asked,) = receiver.requests
    assert asked.headers["authorization"] == "Bearer t-1"


def test_token_that_is_refused_at_a_renewal_is_renewed_and_no_refusal(
    tenant: Tenant, actor: Actor
) -> None:
    with receiving() as receiver:
        endpoint = consented(tenant, actor, receiver.url)
        with acting_for(tenant):
            later = datetime.now(tz=UTC) + timedelta(hours=1)
            Endpoint.objects.filter(pk=endpoint.pk).update(
                oauth2_token_url=receiver.url,
                sealed_oauth2_token=Sealer(tenant.pk, endpoint.pk).oauth2_token("t"),
                oauth2_expires_at=later,
                oauth2_due_at=later,
                oauth2_asked_at=later - timedelta(hours=2),
            )
        receiver.behave = lambda _: Reply(401)
        move_lease(endpoint, ends_in=timedelta(days=5))
        ask_consent()
    assert reread(endpoint).status == "active"
    assert "OPTIONS was answered 401" in endpoint.status_detail
    assert endpoint.oauth2_due_at is not None
    assert endpoint.oauth2_due_at < later


def test_admin_withdraws_and_nobody_is_asked_until_told_to(
    tenant: Tenant, actor: Actor
) -> None:
    with receiving() as receiver:
        endpoint = consented(tenant, actor, receiver.url)
        with acting_for(tenant):
            withdraw_consent(tenant=tenant, actor=actor, endpoint=endpoint)
        asked = len(receiver.requests)
        ask_consent()
    assert len(receiver.requests) == asked
    assert (reread(endpoint).status, endpoint.consented_at) == ("pending", None)
    assert endpoint.status_detail == "The consent was withdrawn by operator."
    assert steps(endpoint)[-1] == "withdrawn"


def test_endpoint_whose_lease_ended_while_it_was_paused_is_asked_first(
    tenant: Tenant, actor: Actor
) -> None:
    subject: dict[str, Any] = {"tenant": tenant, "actor": actor}
    with receiving() as receiver:
        endpoint = consented(tenant, actor, receiver.url)
        with acting_for(tenant):
            pause_endpoint(**subject, endpoint=endpoint)
        move_lease(endpoint, ends_in=timedelta(seconds=-1))
        ask_consent()
        assert reread(endpoint).status == "paused"
        with acting_for(tenant):
            resume_endpoint(**subject, endpoint=endpoint)
        assert reread(endpoint).status == "pending"
        assert steps(endpoint)[-1] == "lapsed"
        ask_consent()
    assert reread(endpoint).status == "active"


def test_proposed_url_is_asked_when_the_old_ones_lease_ended_while_it_was_stopped(
    tenant: Tenant, actor: Actor
) -> None:
    subject: dict[str, Any] = {"tenant": tenant, "actor": actor}
    with receiving() as old, receiving() as new:
        endpoint = consented(tenant, actor, old.url)
        change_url(tenant, actor, endpoint, new.url)
        with acting_for(tenant):
            Endpoint.objects.filter(pk=endpoint.pk).update(status="disabled")
        move_lease(endpoint, ends_in=timedelta(seconds=-1))
        asked = len(old.requests)
        with acting_for(tenant):
            resume_endpoint(**subject, endpoint=endpoint)
        ask_consent()
    assert reread(endpoint).status == "active"
    assert (endpoint.url, endpoint.proposed_url) == (new.url, "")
    assert (len(old.requests), len(new.requests)) == (asked, 1)


@pytest.mark.parametrize("path", ["", "/third"])
def test_url_given_to_a_stopped_endpoint_replaces_the_proposed_one(
    tenant: Tenant, actor: Actor, path: str
) -> None:
    subject: dict[str, Any] = {"tenant": tenant, "actor": actor}
    with receiving() as old, receiving() as new:
        endpoint = consented(tenant, actor, old.url)
        change_url(tenant, actor, endpoint, new.url)
        with acting_for(tenant):
            pause_endpoint(**subject, endpoint=endpoint)
        change_url(tenant, actor, endpoint, f"{new.url}{path}")
        assert (reread(endpoint).url, endpoint.proposed_url) == (new.url + path, "")
        assert (endpoint.status, endpoint.consented_at) == ("paused", None)
        with acting_for(tenant):
            resume_endpoint(**subject, endpoint=endpoint)
        ask_consent()
    assert reread(endpoint).status == "active"
    assert [one.path for one in new.requests] == [f"/hook{path}"]


def test_resumed_endpoint_works_its_queue_off_at_a_bounded_rate(
    tenant: Tenant, actor: Actor
) -> None:
    subject: dict[str, Any] = {"tenant": tenant, "actor": actor}
    with receiving() as receiver:
        endpoint = consented(tenant, actor, receiver.url)
        with acting_for(tenant):
            Endpoint.objects.filter(pk=endpoint.pk).update(draining_since=None)
            pause_endpoint(**subject, endpoint=endpoint)
            resumed = resume_endpoint(**subject, endpoint=endpoint)
    assert (resumed.status, resumed.draining_since is None) == ("active", False)


@override_settings(CONSENT_LEASE_DAYS=2)
def test_lease_is_as_long_as_the_operator_says(tenant: Tenant, actor: Actor) -> None:
    with receiving() as receiver:
        endpoint = consented(tenant, actor, receiver.url)
    assert endpoint.consented_at is not None
    assert endpoint.consent_expires_at == endpoint.consented_at + timedelta(days=2)


def test_endpoints_are_asked_at_once(tenant: Tenant, actor: Actor) -> None:
    def register(receiver: Receiver) -> None:
        create_endpoint(tenant=tenant, actor=actor, url=receiver.url, event_types=["*"])

    with receiving() as receiver:
        with acting_for(tenant):
            for _ in range(8):
                register(receiver)
        assert ask_consent() == 8
