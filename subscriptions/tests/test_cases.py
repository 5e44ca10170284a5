"""Acceptance cases of docs/explanation/delivery-cases.md that no other module has."""

import json
from datetime import UTC, datetime

from django.conf import settings
from django.test import override_settings
from gidgethub.sansio import validate_event
from standardwebhooks import Webhook

from subscriptions.breaking import PATIENCE
from subscriptions.events import Event
from subscriptions.models import Delivery, Message
from subscriptions.services.delivering.sending import deliver
from subscriptions.services.publishing import publish
from subscriptions.tests.delivering import (
    attempts,
    claimed_of,
    delivery_of,
    due_in_s,
    make_endpoint,
    outcome,
    publish_to,
    record_all,
    set_deliveries,
)
from subscriptions.tests.receivers import Reply, receiving
from tenants.database import acting_for, pipeline
from tenants.models import Tenant
from tenants.services import NewTenant

URL = "https://subscriber.example/hook"
#: Members out of order, runs of spaces, and letters outside ASCII.
AWKWARD = {"z": "  two  spaces ", "b": {}, "e": "é 漢 \u2028", "a": [1, 1.50, "1.50"]}


def test_the_bytes_that_arrive_are_the_stored_and_signed_ones(tenant: Tenant) -> None:
    event = Event(
        tenant.pk, tenant.slug, "callback.processed", AWKWARD, datetime.now(tz=UTC)
    )
    with receiving() as receiver:
        _, secret = make_endpoint(tenant, receiver.url)
        with pipeline() as lane, lane.cursor() as cursor:
            publish(cursor, [event])
        deliver()
    (received,) = receiver.requests
    with acting_for(tenant):
        (message,) = Message.objects.filter(tenant=tenant)
    assert received.body == bytes(message.body)
    data = json.loads(received.body)["data"]
    assert (data, list(data)) == (AWKWARD, list(AWKWARD))
    Webhook(secret).verify(received.body, received.headers)
    hub = received.headers["x-hub-signature-256"]
    validate_event(received.body, signature=hub, secret=secret)


@override_settings(RETRY_SCHEDULE_S=[60.0])
def test_a_name_that_leads_nowhere_is_tried_again(tenant: Tenant) -> None:
    make_endpoint(tenant, "http://no-such-host.invalid/")
    publish_to(tenant)
    deliver()
    delivery = delivery_of(tenant)
    assert (delivery.status, delivery.last_error) == ("pending", "dns_error")
    assert 50 < due_in_s(delivery) <= 66
    assert [one.status_code for one in attempts(tenant)] == [None]


def test_an_answer_that_is_too_large_counts_and_is_in_the_log(tenant: Tenant) -> None:
    with receiving(lambda _: Reply(200, b"x" * 200_000)) as receiver:
        make_endpoint(tenant, receiver.url)
        publish_to(tenant)
        deliver()
    assert delivery_of(tenant).status == "delivered"
    (attempt,) = attempts(tenant)
    assert (attempt.status_code, attempt.error) == (200, "")
    assert bytes(attempt.response_excerpt) == b"x" * settings.RESPONSE_EXCERPT_BYTES


def test_one_receiver_of_two_tenants_is_warned_of_apart(
    tenant: Tenant, stranger: NewTenant
) -> None:
    since = datetime.now(tz=UTC) - PATIENCE * 0.6
    for one in (tenant, stranger.tenant):
        make_endpoint(one, URL, event_types=["endpoint.*"])
        make_endpoint(one, URL, event_types=["callback.processed"], failing_since=since)
    for one, status in ((tenant, 500), (stranger.tenant, 204)):
        publish_to(one)
        record_all(claimed_of(one), outcome(status))
    assert told(tenant) == ["endpoint.failing"]
    assert told(stranger.tenant) == []


def told(tenant: Tenant) -> list[str]:
    """Return the warnings that the tenant was given."""
    with acting_for(tenant):
        found = Delivery.objects.filter(tenant=tenant, event_type="endpoint.failing")
        return list(found.values_list("event_type", flat=True))


def test_a_message_that_is_sent_again_brings_no_second_warning(tenant: Tenant) -> None:
    make_endpoint(tenant, URL, event_types=["endpoint.*"])
    endpoint, _ = make_endpoint(
        tenant,
        URL,
        event_types=["callback.processed"],
        failing_since=datetime.now(tz=UTC) - PATIENCE * 0.6,
    )
    publish_to(tenant)
    for _ in range(3):
        (again,) = [one for one in claimed_of(tenant) if one.endpoint_id == endpoint.pk]
        record_all([again], outcome(500))
        set_deliveries(tenant, "next_attempt_at = now(), leased_until = NULL")
    assert [one.number for one in attempts(tenant)] == [1, 2, 3]
    assert told(tenant) == ["endpoint.failing"]
