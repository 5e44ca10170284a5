"""Sending one message to one endpoint again."""

from datetime import datetime

from django.db import transaction
from django.db.models.functions import Now

from subscriptions.models import Delivery, DeliveryStatus, EndpointStatus
from tenants.actors import Actor
from tenants.doorbell import ring_after_commit
from tenants.models import Tenant
from tenants.problems import Conflict, NotFound
from tenants.services import record_audit


class DeliveryUnknown(NotFound):
    """There is no such delivery."""

    code = "delivery_unknown"


class DeliveryRefused(Conflict):
    """The message cannot be sent again as things stand."""

    code = "delivery_not_retryable"
    title = "The message cannot be sent again"


@transaction.atomic
def retry_delivery(
    *, tenant: Tenant, actor: Actor, delivery: Delivery, now: datetime
) -> Delivery:
    """
    Send the message again at once, under the same id; its schedule begins anew.

    Raises: DeliveryRefused: cancelled, being sent, or its endpoint is disabled or
    deleted. DeliveryUnknown.
    """
    current = (
        Delivery.objects.select_for_update(of=["self"])
        .select_related("endpoint")
        .filter(tenant=tenant, pk=delivery.pk)
        .first()
    )
    if current is None:
        raise DeliveryUnknown("There is no such delivery.")
    reason = _why_not(current, now)
    if reason:
        raise DeliveryRefused(reason)
    current.status = DeliveryStatus.PENDING
    current.schedule_step = 0
    current.claim_id = None
    current.finished_at = None
    current.next_attempt_at = Now()
    current.save(
        update_fields=[
            "status",
            "schedule_step",
            "claim_id",
            "finished_at",
            "next_attempt_at",
        ]
    )
    record_audit(actor=actor, action="delivery.retried", subject=current.public_id)
    ring_after_commit("subscriptions.deliver")
    current.refresh_from_db()
    return current


def _why_not(delivery: Delivery, now: datetime) -> str:
    """Return why the message cannot be sent again; empty: it can."""
    if delivery.endpoint.deleted_at is not None:
        return "The endpoint was deleted."
    if delivery.status == DeliveryStatus.CANCELLED:
        return "The delivery was cancelled."
    if delivery.endpoint.status == EndpointStatus.DISABLED:
        return "The endpoint is disabled: resume it first."
    if delivery.claim_id is not None and delivery.next_attempt_at > now:
        return "The message is being sent right now."
    return ""
