"""Reading messages, deliveries and attempts."""

from uuid import UUID

from django.db.models import Count, QuerySet

from subscriptions.models import Attempt, Delivery, Message
from tenants.models import Tenant


def messages_of(tenant: Tenant) -> QuerySet[Message]:
    """Return the tenant's messages."""
    return Message.objects.filter(tenant=tenant)


def deliveries_of(tenant: Tenant) -> QuerySet[Delivery]:
    """Return the tenant's deliveries, with those to deleted endpoints."""
    return Delivery.objects.filter(tenant=tenant)


def attempts_of(tenant: Tenant, delivery: Delivery) -> QuerySet[Attempt]:
    """Return the delivery's attempts, oldest first."""
    found = Attempt.objects.filter(tenant=tenant, delivery=delivery)
    return found.order_by("number", "started_at")


def delivery_counts(tenant: Tenant, endpoint_id: UUID) -> dict[str, int]:
    """Return how many of the endpoint's deliveries have each status."""
    found = (
        deliveries_of(tenant)
        .filter(endpoint_id=endpoint_id)
        .values("status")
        .annotate(deliveries=Count("id"))
    )
    return {row["status"]: row["deliveries"] for row in found}
