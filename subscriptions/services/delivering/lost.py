"""Claims whose worker did not come back in time: each leaves an attempt behind."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.conf import settings

from subscriptions.services.delivering.arrays import numbers, uuids
from tenants.database import Cursor
from tenants.identifiers import new_id

_DETAIL = (
    "The worker that sent it ended, or was held up past its lease: what came of it is "
    "not known. It goes out again under the same id."
)


class Lost(NamedTuple):
    """A claim that was lost with its worker."""

    tenant_id: int
    delivery_id: UUID
    #: Which attempt it was.
    number: int
    #: When its lease ended.
    lost_at: datetime


def log_lost(cursor: Cursor, lost: Sequence[Lost]) -> None:
    """Keep an attempt for each claim that was lost."""
    if not lost:
        return
    # Without its endpoint: it says nothing of that one's health.
    cursor.execute(
        """INSERT INTO subscriptions_attempt (tenant_id, id, delivery_id, number,
            started_at, duration_ms, error, error_detail)
        SELECT tenant_id, id, delivery_id, number, lost_at - lease_s * interval '1 s',
            lease_s * 1000, 'worker_lost', %s
        FROM unnest(%s::bigint[], %s::uuid[], %s::uuid[], %s::int[], %s::timestamptz[])
            AS lost(tenant_id, id, delivery_id, number, lost_at),
            (SELECT %s::int) AS lease(lease_s)""",
        [
            _DETAIL,
            numbers(one.tenant_id for one in lost),
            uuids(new_id() for _ in lost),
            uuids(one.delivery_id for one in lost),
            numbers(one.number for one in lost),
            [one.lost_at for one in lost],
            settings.DELIVERY_LEASE_S,
        ],
    )
