"""What was published long ago: messages and deliveries, written as they would stand."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from subscriptions.models import Delivery, Endpoint
from tenants.database import acting_for, pipeline
from tenants.identifiers import first_id, public_id

_MESSAGES = """
INSERT INTO subscriptions_message
    (tenant_id, id, event_type, receipt_id, body, created_at)
SELECT %s, id, 'callback.processed', %s, body, at
FROM unnest(%s::uuid[], %s::bytea[], %s::timestamptz[]) AS m (id, body, at)
"""
_DELIVERIES = """
INSERT INTO subscriptions_delivery (tenant_id, id, message_id, endpoint_id, event_type,
    status, attempt_count, schedule_step, next_attempt_at, last_error, body, created_at,
    finished_at)
SELECT %s, id, message_id, %s, 'callback.processed', %s, 3, 3, at, %s, %s, at,
    CASE WHEN %s <> 'pending' THEN at + interval '1 s' END
FROM unnest(%s::uuid[], %s::uuid[], %s::timestamptz[]) AS d (id, message_id, at)
"""
_DEVICES = """
INSERT INTO subscriptions_messagedevice (tenant_id, device, message_id)
SELECT %s, %s, id FROM unnest(%s::uuid[]) AS id
"""


def id_at(moment: datetime) -> UUID:
    """Return an id of that moment: the next one of it sorts behind."""
    return UUID(int=first_id(moment).int | uuid4().int >> 60)


def write_history(
    endpoint: Endpoint,
    at: datetime,
    *,
    count: int = 1,
    status: str = "dead",
    devices: Sequence[str] = (),
    own_body: bytes | None = None,
    error: str = "timeout",
    receipt_id: UUID | None = None,
) -> list[UUID]:
    """
    Write messages that were published then, a second after each other.

    Return their ids; each ended a second after it was published.
    """
    moments = [at + timedelta(seconds=number) for number in range(count)]
    ids = [id_at(moment) for moment in moments]
    bodies = [f'{{"id":"{public_id("msg", one)}"}}'.encode() for one in ids]
    tenant_id = endpoint.tenant_id
    with pipeline() as lane:
        lane.execute(_MESSAGES, [tenant_id, receipt_id, ids, bodies, moments])
        values: list[Any] = [tenant_id, endpoint.pk, status, error, own_body, status]
        deliveries = [id_at(moment) for moment in moments]
        lane.execute(_DELIVERIES, [*values, deliveries, ids, moments])
        for device in devices:
            lane.execute(_DEVICES, [tenant_id, device, ids])
    return ids


def by_message(endpoint: Endpoint) -> dict[UUID, Delivery]:
    """Return the endpoint's deliveries as they stand."""
    with acting_for(endpoint.tenant_id):
        rows = Delivery.objects.filter(tenant=endpoint.tenant_id, endpoint=endpoint)
        return {row.message_id: row for row in rows}


def statuses(endpoint: Endpoint, ids: Sequence[UUID]) -> list[str]:
    """Return how these messages stand with the endpoint."""
    found = by_message(endpoint)
    return [found[one].status for one in ids]
