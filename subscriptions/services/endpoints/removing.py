"""Ending endpoints."""

from datetime import datetime

from django.db import connection, transaction
from django.db.models.functions import Now

from subscriptions.models import (
    Endpoint,
    EndpointSecret,
    MaintenanceWindow,
    Redelivery,
    RedeliveryStatus,
)
from subscriptions.services import orphans
from subscriptions.services.endpoints.rows import end_portal_links, locked
from tenants.actors import Actor
from tenants.doorbell import ring_after_commit
from tenants.models import Tenant
from tenants.services import record_audit

#: What is of no use to anybody any more, and best not kept.
_WIPED = (
    "sealed_headers",
    "sealed_certificate",
    "sealed_oauth2_secret",
    "sealed_oauth2_token",
)


@transaction.atomic
def delete_endpoint(
    *, tenant: Tenant, actor: Actor, endpoint: Endpoint, now: datetime
) -> None:
    """
    End the endpoint: its secrets go, what waits is cancelled, its history stays.

    A very long queue is cancelled step by step: the first one here, the rest by a
    worker, which also looks for what was passed over.
    Raises: EndpointUnknown.
    """
    # Windows before their endpoint: so do all who lock both.
    MaintenanceWindow.objects.filter(
        tenant=tenant, endpoint=endpoint, closed_at=None
    ).update(closed_at=Now())
    current = locked(tenant, endpoint)
    current.deleted_at = now
    current.consent_due_at = current.oauth2_due_at = None
    for name in _WIPED:
        setattr(current, name, b"")
    current.save(
        update_fields=["deleted_at", "consent_due_at", "oauth2_due_at", *_WIPED]
    )
    _end_what_belongs_to(tenant, current)
    with connection.cursor() as cursor:
        cancelled = orphans.cancel_waiting(cursor, tenant.pk, current.pk)
    ring_after_commit("subscriptions.cancel_orphans")
    record_audit(
        actor=actor,
        action="endpoint.deleted",
        subject=current.public_id,
        detail={
            "url": current.url,
            "cancelled": cancelled,
            "is_all": cancelled < orphans.STEP,
        },
    )


def _end_what_belongs_to(tenant: Tenant, endpoint: Endpoint) -> None:
    """End its secrets, portal links and redeliveries."""
    mine = {"tenant": tenant, "endpoint": endpoint}
    EndpointSecret.objects.filter(**mine).delete()
    end_portal_links(endpoint)
    Redelivery.objects.filter(**mine, status=RedeliveryStatus.RUNNING).update(
        status=RedeliveryStatus.CANCELLED, finished_at=Now()
    )
