"""The way of one delivery, in words."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from django.utils import timezone

from subscriptions.batches import Verdict
from subscriptions.consent import origin
from subscriptions.masking import MASK
from subscriptions.models import Attempt, Delivery, Endpoint, Message
from subscriptions.queries.exchanges import exchange_of
from subscriptions.queries.timeline import Step, story, timeline
from subscriptions.sealing import Sealer
from subscriptions.services.deliveries import retry_delivery
from subscriptions.tests.delivering import (
    claimed_of,
    delivery_of,
    make_endpoint,
    outcome,
    publish_to,
    record_all,
)
from tenants.actors import Actor
from tenants.database import acting_for
from tenants.identifiers import new_id, public_id
from tenants.models import Tenant

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
URL = "https://subscriber.example/hook"


def a_message(data: Any = None) -> Message:
    body = msgspec.json.encode({"data": {} if data is None else data})
    return Message(pk=new_id(), tenant_id=1, event_type="callback.processed", body=body)


def a_delivery(data: Any = None, **fields: Any) -> Delivery:
    endpoint = fields.pop("endpoint", None) or Endpoint(url=URL, status="active")
    return Delivery(
        tenant_id=1,
        endpoint=endpoint,
        message=a_message(data),
        event_type="callback.processed",
        created_at=NOW,
        **{"next_attempt_at": NOW, **fields},
    )


def an_attempt(
    error: str = "", status_code: int | None = 204, **fields: Any
) -> Attempt:
    return Attempt(
        number=1,
        started_at=NOW,
        duration_ms=12,
        error=error,
        status_code=status_code,
        signed_at_s=1_795_511_400,
        **fields,
    )


def steps_of(tenant: Tenant, delivery: Delivery) -> list[Step]:
    with acting_for(tenant):
        return timeline(tenant, delivery)


def test_a_delivery_is_told_from_the_callback_on(tenant: Tenant) -> None:
    received = NOW - timedelta(seconds=2)
    delivery = a_delivery(
        {
            "transaction_id": "north/1",
            "received_at": received.isoformat(),
            "processed_at": (NOW - timedelta(seconds=1)).isoformat(),
        }
    )
    steps = steps_of(tenant, delivery)
    assert [step.kind for step in steps] == [
        "received",
        "processed",
        "published",
        "ahead",
    ]
    assert steps[0].detail == "Transaction north/1"
    assert [step.wait for step in steps] == [
        None,
        timedelta(seconds=1),
        timedelta(seconds=1),
        timedelta(),
    ]


def test_a_message_that_names_no_moments_is_told_from_its_publishing_on(
    tenant: Tenant,
) -> None:
    told: list[Any] = [{"received_at": "2026-13-45"}, {"received_at": 5}, [], "text"]
    for data in told:
        steps = steps_of(tenant, a_delivery(data))
        assert [step.kind for step in steps] == ["published", "ahead"]


def test_what_people_did_is_told(tenant: Tenant, actor: Actor) -> None:
    make_endpoint(tenant, "http://127.0.0.1:9/hook", status="paused")
    publish_to(tenant)
    delivery = delivery_of(tenant)
    with acting_for(tenant):
        retry_delivery(
            tenant=tenant, actor=actor, delivery=delivery, now=timezone.now()
        )
        steps = timeline(tenant, Delivery.objects.get(tenant=tenant))
    deed = next(step for step in steps if step.kind == "deed")
    assert deed.title == f"Sent again by hand by {actor.name}"
    assert steps[-1].title == "Waits: An admin paused it."


def test_an_end_that_no_attempt_tells_is_told(tenant: Tenant) -> None:
    ended = {"finished_at": NOW, "attempt_count": 10}
    dead = steps_of(tenant, a_delivery(status="dead", **ended))[-1]
    assert (dead.title, dead.tone) == ("Given up after 10 attempts", "bad")
    cancelled = a_delivery(status="cancelled", cancel_reason="a test bench", **ended)
    assert steps_of(tenant, cancelled)[-1].detail == "a test bench"
    delivered = steps_of(tenant, a_delivery(status="delivered", **ended))
    assert [step.kind for step in delivered] == ["published"]


def test_what_is_said_of_one_of_a_batch_is_told(tenant: Tenant) -> None:
    make_endpoint(tenant, "http://127.0.0.1:9/hook")
    publish_to(tenant)
    (claimed,) = claimed_of(tenant)
    said = Verdict(422, "no such meter")
    record_all([claimed], outcome(200), batch_id=UUID(int=7), item=said)
    (step,) = [
        step for step in steps_of(tenant, delivery_of(tenant)) if step.kind == "attempt"
    ]
    assert step.detail == "no such meter"


def test_what_a_pending_message_waits_for_is_told(tenant: Tenant) -> None:
    later = timezone.now() + timedelta(minutes=1)
    held = Endpoint(url=URL, status="active", breaker="open", hold_until=later)
    failing = Endpoint(url=URL, status="active", failing_since=NOW)
    for fields, words in (
        ({"next_attempt_at": None}, "about the same device before it"),
        ({"leased_until": later}, "being sent right now"),
        ({"attempt_count": 1}, "Next attempt"),
        ({"endpoint": Endpoint(url=URL, status="pending")}, "consent"),
        ({"endpoint": held}, "breaker is open"),
        ({"endpoint": held, "next_attempt_at": later}, "First attempt"),
        ({"endpoint": held, "leased_until": later}, "being sent right now"),
        ({"endpoint": failing}, "First attempt"),
    ):
        assert words in steps_of(tenant, a_delivery(**fields))[-1].title


def test_the_story_is_one_line() -> None:
    now = timezone.localtime()
    at = now.strftime("%H:%M")
    refused, lost = an_attempt("http_error", 503), an_attempt("timeout", None)
    delivered = a_delivery(status="delivered", finished_at=now)
    soon = now + timedelta(seconds=30)
    pending = a_delivery(next_attempt_at=soon, attempt_count=2)
    due = a_delivery(next_attempt_at=now, attempt_count=2)
    dead = a_delivery(status="dead", finished_at=now - timedelta(days=400))
    assert story(delivered, [an_attempt()]) == f"Delivered {at}"
    assert (
        story(delivered, [refused, refused, an_attempt()])
        == f"Refused twice, delivered {at}"
    )
    assert story(pending, [lost]).startswith("Not reached once, next attempt ")
    assert story(due, [lost]) == f"Not reached once, due since {at}"
    assert story(dead, [lost, refused, lost]).startswith("Failed 3 times, given up ")
    assert story(a_delivery(next_attempt_at=None), []) == "Waits for its turn"


def test_no_signature_and_no_custom_header_is_shown() -> None:
    endpoint = Endpoint(
        url=URL,
        header_names=["X-Api-Key"],
        oauth2_token_url="https://login.example/token",  # noqa: S106 (an address)
        extra_signatures=["v1a", "stripe"],
    )
    delivery = a_delivery(endpoint=endpoint)
    seen = exchange_of(delivery, an_attempt())
    headers = dict(seen.request_headers)
    assert seen.request_line == f"POST {URL}"
    assert headers["webhook-id"] == public_id("msg", delivery.message_id)
    assert headers["webhook-timestamp"] == "1795511400"
    assert headers["webhook-signature"] == f"v1,{MASK} v1a,{MASK}"
    assert headers["WebHook-Request-Origin"] == origin()
    assert headers["Stripe-Signature"] == f"t=1795511400,v1={MASK}"
    assert headers["Authorization"] == f"Bearer {MASK}"
    assert headers["X-Api-Key"] == MASK


def test_a_batch_is_shown_under_its_own_id() -> None:
    batch = UUID(int=7)
    seen = exchange_of(a_delivery(), an_attempt(batch_id=batch))
    headers = dict(seen.request_headers)
    assert headers["webhook-id"] == public_id("bat", batch)
    assert headers["Content-Type"] == "application/cloudevents-batch+json"


@pytest.mark.parametrize("verdict", [500, None])
def test_a_batchs_answer_is_shown_as_it_came_whatever_it_says_of_one(
    verdict: int | None,
) -> None:
    attempt = an_attempt(
        "http_error",
        verdict,
        batch_id=UUID(int=7),
        response_headers="HTTP/1.1 207 Multi-Status\nserver: nginx",
    )
    seen = exchange_of(a_delivery(), attempt)
    assert seen.response_line == "HTTP/1.1 207 Multi-Status"
    assert seen.response_headers == "server: nginx"


def test_an_answer_is_shown_without_its_cookies_and_capped() -> None:
    attempt = an_attempt(
        status_code=500,
        error="http_error",
        http_version="2",
        response_headers="server: nginx\r\nSet-Cookie: session=abc\r\nx-a: b",
        response_excerpt=b"\xff\x00" + b"x" * 9_000,
    )
    seen = exchange_of(a_delivery(), attempt)
    assert seen.response_line == "HTTP/2 500"
    assert "session=abc" not in seen.response_headers
    assert "server: nginx" in seen.response_headers
    assert "x-a: b" in seen.response_headers
    assert "\0" not in seen.excerpt
    assert len(seen.excerpt) == 4_096


def test_a_receiver_that_repeats_a_secret_shows_it_to_nobody() -> None:
    endpoint = Endpoint(url=URL, tenant_id=1)
    sealer = Sealer(1, endpoint.pk)
    endpoint.sealed_headers = sealer.headers({"X-Api-Key": "open sesame"})
    endpoint.sealed_oauth2_token = sealer.oauth2_token("tok-123456")
    attempt = an_attempt(
        response_headers="HTTP/1.1 401 open sesame\nx-echo: open sesame",
        response_excerpt=b'{"headers": ["open sesame", "Bearer tok-123456"]}',
        error_detail="sesame does not open",
    )
    seen = exchange_of(a_delivery(endpoint=endpoint), attempt)
    assert seen.response_line == f"HTTP/1.1 401 {MASK}"
    assert seen.response_headers == f"x-echo: {MASK}"
    assert seen.excerpt == f'{{"headers": ["{MASK}", "Bearer {MASK}"]}}'
    assert seen.detail == f"{MASK} does not {MASK}"


def test_a_request_that_never_left_shows_no_headers() -> None:
    attempt = an_attempt("dns_error", None)
    attempt.signed_at_s = None
    seen = exchange_of(a_delivery(), attempt)
    assert (seen.request_headers, seen.response_line) == ([], "")
