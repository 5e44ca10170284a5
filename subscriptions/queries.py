"""Reading endpoints, messages, deliveries and attempts."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db.models import Count, QuerySet

from subscriptions.models import Attempt, Delivery, Endpoint, Message
from tenants.database import pipeline
from tenants.models import Tenant


def endpoints(tenant: Tenant) -> QuerySet[Endpoint]:
    """Return the tenant's endpoints, without the deleted ones."""
    return Endpoint.objects.filter(tenant=tenant, deleted_at=None)


def messages(tenant: Tenant) -> QuerySet[Message]:
    """Return the tenant's messages."""
    return Message.objects.filter(tenant=tenant)


def deliveries(tenant: Tenant) -> QuerySet[Delivery]:
    """Return the tenant's deliveries, with those to deleted endpoints."""
    return Delivery.objects.filter(tenant=tenant)


def attempts(tenant: Tenant, delivery: Delivery) -> QuerySet[Attempt]:
    """Return the delivery's attempts, oldest first."""
    found = Attempt.objects.filter(tenant=tenant, delivery=delivery)
    return found.order_by("number", "started_at")


def delivery_counts(tenant: Tenant, endpoint_id: UUID) -> dict[str, int]:
    """Return how many of the endpoint's deliveries have each status."""
    found = (
        deliveries(tenant)
        .filter(endpoint_id=endpoint_id)
        .values("status")
        .annotate(deliveries=Count("id"))
    )
    return {row["status"]: row["deliveries"] for row in found}


@dataclass(frozen=True)
class Backlog:
    """What waits to be delivered in all tenants, as the operator sees it."""

    #: How long the oldest due delivery of an active endpoint has been due.
    oldest_due: timedelta
    due: int
    #: Endpoints of which every recent attempt failed.
    failing_endpoints: int


def backlog() -> Backlog:
    """Return what waits to be delivered, by the database's clock."""
    with pipeline() as lane:
        row = lane.execute(
            """SELECT coalesce(max(now() - d.next_attempt_at), interval '0'), count(*),
                (SELECT count(*) FROM subscriptions_endpoint
                 WHERE failing_since IS NOT NULL AND status = 'active'
                    AND deleted_at IS NULL)
            FROM subscriptions_endpoint e
            JOIN subscriptions_delivery d ON d.tenant_id = e.tenant_id
                AND d.endpoint_id = e.id AND d.status = 'pending'
                AND d.next_attempt_at <= now()
            WHERE e.status = 'active' AND e.deleted_at IS NULL
                AND e.failing_since IS NULL"""
        ).fetchone()
    oldest, due, failing = row or (timedelta(), 0, 0)
    return Backlog(oldest_due=oldest, due=due, failing_endpoints=failing)
