"""Endpoints, messages and deliveries of a test's own."""

import time
from datetime import UTC, datetime
from typing import Any

from subscriptions.http import Outcome
from subscriptions.models import Attempt, Delivery, Endpoint, EndpointSecret
from subscriptions.sealing import secret_context
from subscriptions.services.delivering.claims import Claimed, claim
from subscriptions.services.delivering.recording import Result, record
from subscriptions.services.delivering.sending import deliver
from subscriptions.services.publishing import Event, publish
from subscriptions.tests.receivers import Received, Reply
from tenants.database import acting_for, pipeline
from tenants.models import Tenant
from tenants.signing import new_secret
from tenants.vault import seal


def add_secret(endpoint: Endpoint, expires_at: datetime | None = None) -> str:
    secret = new_secret()
    context = secret_context(endpoint.tenant_id, endpoint.pk)
    EndpointSecret.objects.create(
        tenant=endpoint.tenant,
        endpoint=endpoint,
        sealed=seal(secret.encode(), context=context),
        expires_at=expires_at,
    )
    return secret


def make_endpoint(tenant: Tenant, url: str, **fields: Any) -> tuple[Endpoint, str]:
    with acting_for(tenant):
        endpoint = Endpoint.objects.create(
            tenant=tenant,
            url=url,
            **{
                "event_types": ["*"],
                "status": "active",
                "consent_due_at": None,
                **fields,
            },
        )
        return endpoint, add_secret(endpoint)


def publish_to(tenant: Tenant, count: int = 1, note: str = "é & ü") -> None:
    events = [
        Event(
            tenant.pk,
            tenant.slug,
            "callback.processed",
            {"number": number, "note": note},
            datetime.now(tz=UTC),
        )
        for number in range(count)
    ]
    with pipeline() as lane, lane.cursor() as cursor:
        assert publish(cursor, events) >= count


def deliveries(tenant: Tenant) -> list[Delivery]:
    with acting_for(tenant):
        return list(Delivery.objects.filter(tenant=tenant).order_by("id"))


def delivery_of(tenant: Tenant) -> Delivery:
    (delivery,) = deliveries(tenant)
    return delivery


def attempts(tenant: Tenant) -> list[Attempt]:
    with acting_for(tenant):
        return list(Attempt.objects.filter(tenant=tenant).order_by("number", "id"))


def deliver_until(tenant: Tenant, *statuses: str, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while {row.status for row in deliveries(tenant)} - set(statuses):
        assert time.monotonic() < deadline, [row.status for row in deliveries(tenant)]
        deliver()


def due_in_s(delivery: Delivery) -> float:
    with pipeline() as lane:
        row = lane.execute(
            "SELECT extract(epoch FROM %s - now())", [delivery.next_attempt_at]
        ).fetchone()
    assert row is not None
    return float(row[0])


def answering(*replies: Reply) -> Any:
    """Answer the n-th request with the n-th reply, and then with the last."""
    queue = list(replies)

    def behave(_: Received) -> Reply:
        return queue.pop(0) if len(queue) > 1 else queue[0]

    return behave


def outcome(status: int | None, error: str = "", **fields: Any) -> Outcome:
    """What came of a request, for tests of what is made of it."""
    about = {
        "detail": "",
        "headers": {},
        "body": b"",
        "address": "192.0.2.1",
        "started": time.monotonic(),
        "duration_s": 0.01,
        **fields,
    }
    return Outcome(status_code=status, error=error, **about)


def claimed_of(tenant: Tenant, limit: int = 256) -> list[Claimed]:
    """Claim as a fresh worker; return what is the tenant's."""
    return [one for one in claim(limit) if one.tenant_id == tenant.pk]


def record_all(claims: list[Claimed], came: Outcome, **fields: Any) -> None:
    record([Result(one, came, **fields) for one in claims])


def set_endpoint(endpoint: Endpoint, **fields: Any) -> Endpoint:
    """Change the endpoint's row; return it as it is now."""
    with acting_for(endpoint.tenant_id):
        if fields:
            Endpoint.objects.filter(pk=endpoint.pk).update(**fields)
        endpoint.refresh_from_db()
    return endpoint


def set_deliveries(tenant: Tenant, assignments: str) -> None:
    """Change the tenant's deliveries, in SQL: by the database's clock."""
    with pipeline() as lane:
        change = f"UPDATE subscriptions_delivery SET {assignments}"  # noqa: S608 (own)
        lane.execute(f"{change} WHERE tenant_id = %s", [tenant.pk])
