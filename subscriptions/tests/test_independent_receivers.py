"""What the engine really sends, judged by receivers of other people's making."""

import base64
from collections import Counter
from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any

import pytest
import stripe
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.test import Client, override_settings
from gidgethub.sansio import validate_event
from standardwebhooks import Webhook

from gridhook_client import Seen, Verifier, batch_answer
from subscriptions.events import Event
from subscriptions.filtering import Subject
from subscriptions.services.publishing import publish
from subscriptions.services.signing_keys import ensure_key, rotate_key
from subscriptions.tests.delivering import (
    add_secret,
    answering,
    deliver_until,
    make_endpoint,
    publish_to,
)
from subscriptions.tests.receivers import Received, Receiver, Reply, receiving
from tenants.actors import Actor
from tenants.database import acting_for, pipeline
from tenants.models import Tenant

EVERYTHING = {"extra_signatures": ["v1a", "stripe"]}


@pytest.fixture
def receiver() -> Generator[Receiver]:
    """A receiver that fails once."""
    with receiving(answering(Reply(500), Reply(204))) as one:
        yield one


def public_keys(tenant: Tenant) -> list[dict[str, Any]]:
    """Return what anyone reads of the tenant's keys."""
    reply = Client().get(f"/.well-known/gridhook/{tenant.slug}/keys.json")
    found: list[dict[str, Any]] = reply.json()["keys"]
    return found


@override_settings(RETRY_SCHEDULE_S=[0.02] * 5)
def test_every_verifier_takes_every_attempt_by_every_secret_and_key_in_force(
    tenant: Tenant, actor: Actor, receiver: Receiver
) -> None:
    endpoint, old = make_endpoint(tenant, receiver.url, **EVERYTHING)
    with acting_for(tenant):
        new = add_secret(endpoint)
        ensure_key(tenant)
        rotate_key(tenant=tenant, actor=actor, now=datetime.now(tz=UTC), overlap_s=3600)
    publish_to(tenant)
    deliver_until(tenant, "delivered")
    first, second = receiver.posts()
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    for post in (first, second):
        _judge(post, old, new, public_keys(tenant))


def _judge(post: Received, old: str, new: str, keys: list[dict[str, Any]]) -> None:
    headers, body = post.headers, post.body
    for secret in (old, new):
        Webhook(secret).verify(body, headers)
        stripe.WebhookSignature.verify_header(
            body.decode(), headers["stripe-signature"], secret, 300
        )
        assert Verifier([secret]).verify(headers, body).type == "callback.processed"
    validate_event(body, signature=headers["x-hub-signature-256"], secret=new)
    items = headers["webhook-signature"].split()
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    assert Counter(item.partition(",")[0] for item in items) == {"v1": 2, "v1a": 2}
    for number, key in enumerate(keys):
        public = Ed25519PublicKey.from_public_bytes(
            base64.urlsafe_b64decode(key["x"] + "=")
        )
        public.verify(base64.b64decode(items[2 + number].partition(",")[2]), signed)
        assert Verifier(public_keys=[key["public"]]).verify(headers, body).id


def about(tenant: Tenant, device: str, number: int) -> Event:
    return Event(
        tenant.pk,
        tenant.slug,
        "callback.processed",
        {"number": number},
        datetime.now(tz=UTC),
        subjects=lambda: [Subject(device)],
    )


@override_settings(RETRY_SCHEDULE_S=[0.02] * 20)
def test_the_package_answers_batches_and_only_what_it_refuses_comes_again(
    tenant: Tenant,
) -> None:
    seen, came = Seen(), Counter[str]()

    def behave(received: Received) -> Reply:
        batch = Verifier([secret]).verify_batch(received.headers, received.body)
        verdicts: dict[str, int | tuple[int, str]] = {}
        for message in batch.messages:
            came[message.id] += 1
            is_refused = message.data["number"] % 3 == 0 and came[message.id] == 1
            verdicts[message.id] = (503, "later") if is_refused else 200
            if not is_refused:
                seen.note(message)
        return Reply(207, batch_answer(verdicts))

    with receiving(behave) as receiver:
        _, secret = make_endpoint(tenant, receiver.url, batch_size=5, batch_wait_s=0)
        publish_to(tenant, 12)
        deliver_until(tenant, "delivered")
    assert Counter(came.values()) == {1: 8, 2: 4}
    assert all(message_id in seen for message_id in came)


def test_an_ordered_endpoints_messages_come_by_device_without_a_gap(
    tenant: Tenant,
) -> None:
    seen = Seen()
    order: dict[str, list[int]] = {"WM-1": [], "WM-2": []}
    gaps: list[str] = []

    def behave(received: Received) -> Reply:
        message = Verifier([secret]).verify(received.headers, received.body)
        gaps.extend(seen.gaps(message))
        seen.note(message)
        (place,) = message.order
        order[place.device].append(place.sequence)
        return Reply()

    with receiving(behave) as receiver:
        _, secret = make_endpoint(tenant, receiver.url, is_ordered=True)
        events = [about(tenant, f"WM-{1 + n % 2}", n) for n in range(8)]
        with pipeline() as lane, lane.cursor() as cursor:
            publish(cursor, events)
        deliver_until(tenant, "delivered")
    assert order == {"WM-1": [1, 2, 3, 4], "WM-2": [1, 2, 3, 4]}
    assert gaps == []
