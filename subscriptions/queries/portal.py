"""Who holds a portal link, and what its holder sees."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from subscriptions.models import Delivery, DeliveryStatus, Endpoint
from subscriptions.queries.deliveries import LOOK_BACK
from tenants.models import Tenant
from tenants.queries import key_digest

PAGE_LENGTH = 25


@dataclass(frozen=True)
class PortalAccess:
    """What a link opens, and until when."""

    link_id: UUID
    tenant_id: int
    endpoint_id: UUID
    note: str
    expires_at: datetime


@dataclass(frozen=True)
class Wanted:
    """Which deliveries a page shows."""

    #: Empty: any.
    status: str = ""
    event_type: str = ""
    #: These alone; None: any.
    message_ids: frozenset[UUID] | None = None
    #: Only messages older than this one.
    before: UUID | None = None


def access_by_token(token: str) -> PortalAccess | None:
    """Return what the token opens; None: nothing, or no longer."""
    return _access(key_digest(token), None)


def access_by_link(link_id: UUID) -> PortalAccess | None:
    """Return what the link opens; None: nothing, or no longer."""
    return _access(None, link_id)


def _access(digest: bytes | None, link_id: UUID | None) -> PortalAccess | None:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT id, tenant_id, endpoint_id, note, expires_at
            FROM subscriptions_identify_link(%s, %s)""",
            [digest, link_id],
        )
        row = cursor.fetchone()
    return PortalAccess(*row) if row else None


def deliveries_shown(
    tenant: Tenant, endpoint: Endpoint, wanted: Wanted
) -> list[Delivery]:
    """
    Return a page of the endpoint's deliveries, the newest message first.

    Shape: one more than `PAGE_LENGTH` where there are more.
    """
    mine = Delivery.objects.filter(tenant=tenant, endpoint=endpoint)
    if wanted.before is not None:
        mine = mine.filter(message_id__lt=wanted.before)
    found = _matching(mine, wanted).select_related("endpoint")
    return list(found.order_by("-message_id")[: PAGE_LENGTH + 1])


def _matching(mine: QuerySet[Delivery], wanted: Wanted) -> QuerySet[Delivery]:
    """Narrow the deliveries; what no index finds is looked for in a bounded part."""
    if wanted.message_ids is not None:
        mine = mine.filter(message_id__in=wanted.message_ids)
    if wanted.status in {DeliveryStatus.PENDING, DeliveryStatus.DEAD}:
        mine = mine.filter(status=wanted.status)
    if wanted.event_type or wanted.status:
        newest = mine.order_by("-message_id").values("pk")[:LOOK_BACK]
        mine = mine.filter(pk__in=newest)
    if wanted.event_type:
        mine = mine.filter(event_type=wanted.event_type)
    if wanted.status:
        mine = mine.filter(status=wanted.status)
    return mine
