"""Callbacks that were set aside already, without listener and worker."""

from datetime import datetime
from uuid import UUID

from django.utils import timezone

from ingest.models import Callback, CallbackRejection, CallbackState, Source
from tenants.database import acting_for, pipeline
from tenants.identifiers import new_id
from tenants.models import Tenant


def set_aside(
    source: Source,
    *,
    code: str = "unit_unknown",
    detail: str = "furlong",
    body: bytes | None = b"{}",
    signed_by: str | None = None,
    received_at: datetime | None = None,
) -> UUID:
    """Return a rejected callback; without a body, it is past its retention."""
    found, at = new_id(), received_at or timezone.now()
    with pipeline() as lane:
        lane.execute(
            """INSERT INTO ingest_callback (tenant_id, id, source_id, transaction_id,
                digest, received_at, state, rejected)
            VALUES (%s, %s, %s, %s, %s, %s, 3, 1)""",
            [source.tenant_id, found, source.pk, f"north/{found}", bytes(32), at],
        )
        if body is not None:
            lane.execute(
                """INSERT INTO ingest_callbackbody (tenant_id, callback_id, received_at,
                    content_type, body, signed_by) VALUES (%s, %s, %s, %s, %s, %s)""",
                [source.tenant_id, found, at, "application/json", body, signed_by],
            )
        lane.execute(
            """INSERT INTO ingest_callbackrejection (tenant_id, callback_id, code,
                detail) VALUES (%s, %s, %s, %s)""",
            [source.tenant_id, found, code, detail],
        )
    return found


def state(tenant: Tenant, callback_id: UUID) -> CallbackState:
    with acting_for(tenant):
        found = Callback.objects.get(tenant=tenant, pk=callback_id)
    return CallbackState(found.state)


def rejection(tenant: Tenant, callback_id: UUID) -> CallbackRejection | None:
    with acting_for(tenant):
        found = CallbackRejection.objects.filter(tenant=tenant, pk=callback_id)
        return found.first()
