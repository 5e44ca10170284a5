"""Reading messages, deliveries and attempts."""

from collections.abc import Collection
from uuid import UUID

from django.db.models import QuerySet

from subscriptions.models import (
    Delivery,
    Endpoint,
    LanePlace,
    Message,
    MessageDevice,
)
from subscriptions.queries.undelivered import Undelivered, undelivered
from tenants.identifiers import IdentifierInvalid, parse_public_id
from tenants.models import Tenant

__all__ = [
    "LOOK_BACK",
    "SEARCH_LIMIT",
    "Undelivered",
    "deliveries_of",
    "deliveries_of_messages",
    "messages_meant",
    "messages_of",
    "messages_of_receipts",
    "newest_messages_about",
    "search",
    "undelivered",
    "waited_for",
]

#: Lanes of one delivery that are looked at.
_MOST_LANES = 10
#: Deliveries that a search finds at most, and messages that it looks for.
SEARCH_LIMIT = 100
#: Messages about a device among which those to one endpoint are looked for.
LOOK_BACK = 10_000


def messages_of(tenant: Tenant) -> QuerySet[Message]:
    """Return the tenant's messages."""
    return Message.objects.filter(tenant=tenant)


def deliveries_of(tenant: Tenant) -> QuerySet[Delivery]:
    """Return the tenant's deliveries, with those to deleted endpoints."""
    return Delivery.objects.filter(tenant=tenant)


def deliveries_of_messages(
    tenant: Tenant, message_ids: Collection[UUID]
) -> QuerySet[Delivery]:
    """Return the messages' deliveries, by index delivery_once for each endpoint."""
    everywhere = Endpoint.objects.filter(tenant=tenant).values_list("pk", flat=True)
    return deliveries_of(tenant).filter(
        endpoint_id__in=list(everywhere), message_id__in=message_ids
    )


def newest_messages_about(
    tenant: Tenant, device: str, limit: int = SEARCH_LIMIT
) -> list[UUID]:
    """Return the ids of the newest messages about the device, newest first."""
    found = MessageDevice.objects.filter(tenant=tenant, device=device)
    ids = found.order_by("-message_id").values_list("message_id", flat=True)
    return list(ids[:limit])


def waited_for(delivery: Delivery) -> list[tuple[str, Delivery]]:
    """Return the first of each device's lane in which the delivery waits, by device."""
    places = LanePlace.objects.filter(
        tenant=delivery.tenant_id, endpoint=delivery.endpoint_id
    )
    found = []
    mine = places.filter(delivery=delivery.pk).order_by("device")
    for place in mine[:_MOST_LANES]:
        lane = places.filter(device=place.device, sequence__lt=place.sequence)
        first = lane.order_by("sequence").select_related("delivery__endpoint").first()
        if first is not None:
            found.append((place.device, first.delivery))
    return found


def messages_of_receipts(tenant: Tenant, receipt_ids: Collection[UUID]) -> list[UUID]:
    """Return the ids of the messages that tell of these callbacks."""
    found = messages_of(tenant).filter(receipt_id__in=receipt_ids)
    return list(found.values_list("pk", flat=True)[:SEARCH_LIMIT])


def search(
    tenant: Tenant,
    text: str,
    receipt_ids: Collection[UUID] = (),
    endpoint_id: UUID | None = None,
) -> list[Delivery]:
    """
    Return the newest deliveries that the text stands for, SEARCH_LIMIT at most.

    `text`: a message's, delivery's or receipt's id, or a device's name, whole.
    `receipt_ids`: callbacks that the text stands for too, as a transaction id does.
    `endpoint_id`: to this endpoint alone; none: to any.
    """
    wanted = text.strip()
    if not wanted or "\0" in wanted:
        return []
    by_delivery = _parsed("dlv", wanted)
    if by_delivery is not None:
        rows = deliveries_of(tenant).filter(pk=by_delivery)
    elif endpoint_id is None:
        meant = messages_meant(tenant, wanted, receipt_ids)
        rows = deliveries_of_messages(tenant, meant)
    else:
        meant = messages_meant(tenant, wanted, receipt_ids, LOOK_BACK)
        rows = deliveries_of(tenant).filter(
            endpoint_id=endpoint_id, message_id__in=meant
        )
    return list(rows.select_related("endpoint").order_by("-id")[:SEARCH_LIMIT])


def messages_meant(
    tenant: Tenant,
    text: str,
    receipt_ids: Collection[UUID] = (),
    limit: int = SEARCH_LIMIT,
) -> Collection[UUID]:
    """
    Return the ids of the newest messages that the text stands for.

    `text`: a message's or receipt's id, or a device's name, whole; of a device `limit`
    at most.
    """
    wanted = text.strip()
    message_id, receipt_id = _parsed("msg", wanted), _parsed("rcp", wanted)
    if message_id is not None:
        return [message_id]
    if receipt_id is not None:
        return messages_of_receipts(tenant, [receipt_id])
    return {
        *newest_messages_about(tenant, wanted, limit),
        *(messages_of_receipts(tenant, receipt_ids) if receipt_ids else ()),
    }


def _parsed(prefix: str, text: str) -> UUID | None:
    try:
        return parse_public_id(prefix, text)
    except IdentifierInvalid:
        return None
