"""Sending a message to one endpoint alone, to see whether it arrives."""

from datetime import datetime

from django.db import connection, transaction

from subscriptions.models import Delivery, Endpoint
from subscriptions.services.endpoints.rows import locked
from subscriptions.services.publishing import Event, publish
from tenants.actors import Actor
from tenants.doorbell import ring_after_commit
from tenants.models import Tenant
from tenants.services import record_audit


@transaction.atomic
def send_test(
    *, tenant: Tenant, actor: Actor, endpoint: Endpoint, now: datetime
) -> Delivery:
    """
    Send `endpoint.test` to this endpoint alone; return its delivery.

    Raises: EndpointUnknown.
    """
    current = locked(tenant, endpoint)
    event = Event(
        tenant_id=tenant.pk,
        tenant_slug=tenant.slug,
        event_type="endpoint.test",
        data={
            "endpoint": current.public_id,
            "note": "A test message. No reply beyond 2xx is needed.",
        },
        occurred_at=now,
        endpoint_id=current.pk,
    )
    with connection.cursor() as cursor:
        publish(cursor, [event])
    record_audit(actor=actor, action="endpoint.tested", subject=current.public_id)
    ring_after_commit("subscriptions.deliver")
    return Delivery.objects.filter(
        tenant=tenant, endpoint=current, event_type="endpoint.test"
    ).latest("id")
