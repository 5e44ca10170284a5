"""Trying what was given up again."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models.functions import Now

from subscriptions.models import Delivery, DeliveryStatus, Endpoint
from subscriptions.services.endpoints import locked
from tenants.actors import Actor
from tenants.doorbell import ring_after_commit
from tenants.models import Tenant
from tenants.services import record_audit

#: Messages that one call recovers, oldest first.
RECOVER_LIMIT = 10_000
#: How far back it looks when nobody says.
RECOVER_DEFAULT = timedelta(days=7)


@transaction.atomic
def recover(
    *, tenant: Tenant, actor: Actor, endpoint: Endpoint, since: datetime
) -> int:
    """
    Try the dead messages since then again; return how many there are.

    At most RECOVER_LIMIT, oldest first: call again until it returns 0.
    Raises: EndpointUnknown.
    """
    current = locked(tenant, endpoint)
    dead = Delivery.objects.filter(
        tenant=tenant,
        endpoint=current,
        status=DeliveryStatus.DEAD,
        finished_at__gte=since,
    ).order_by("finished_at")
    recovered = Delivery.objects.filter(
        tenant=tenant, pk__in=dead.values("pk")[:RECOVER_LIMIT]
    ).update(
        status=DeliveryStatus.PENDING,
        schedule_step=0,
        next_attempt_at=Now(),
        claim_id=None,
        finished_at=None,
    )
    record_audit(
        actor=actor,
        action="endpoint.recovered",
        subject=current.public_id,
        detail={"since": since.isoformat(), "messages": recovered},
    )
    ring_after_commit("subscriptions.deliver")
    return recovered
