"""Telling endpoints: an event becomes one message and a delivery for each endpoint."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from subscriptions.catalogue import CATALOGUE, patterns_for
from tenants.database import Cursor
from tenants.identifiers import new_id, public_id


class EventTypeUncatalogued(LookupError):
    """The platform published an event whose type is not in the catalogue."""


@dataclass(frozen=True)
class Event:
    """
    Something that happened in a tenant.

    `endpoint_id`: this endpoint alone is told, whether it asked for the type or not.
    `but_endpoint_id`: this endpoint is not told, although it asked for the type.
    """

    tenant_id: int
    tenant_slug: str
    event_type: str
    data: dict[str, Any]
    occurred_at: datetime
    endpoint_id: UUID | None = None
    but_endpoint_id: UUID | None = None


@dataclass(frozen=True)
class _Listener:
    endpoint_id: UUID
    event_types: frozenset[str]

    def wants(self, event: Event) -> bool:
        if event.endpoint_id is not None:
            return event.endpoint_id == self.endpoint_id
        if event.but_endpoint_id == self.endpoint_id:
            return False
        return not self.event_types.isdisjoint(patterns_for(event.event_type))


@dataclass
class _Rows:
    """The new rows, column by column, as `unnest` takes them."""

    messages: list[tuple[int, UUID, str, bytes]] = field(default_factory=list)
    deliveries: list[tuple[int, UUID, UUID, UUID, str]] = field(default_factory=list)

    def add(self, event: Event, listeners: Iterable[_Listener]) -> None:
        message_id = new_id()
        body = message_body(message_id, event)
        self.messages.append((event.tenant_id, message_id, event.event_type, body))
        self.deliveries.extend(
            (
                event.tenant_id,
                new_id(),
                message_id,
                listener.endpoint_id,
                event.event_type,
            )
            for listener in listeners
        )


def publish(cursor: Cursor, events: Sequence[Event]) -> int:
    """
    Write messages and deliveries for the events, in the transaction that is open.

    Returns the deliveries written; the caller rings `subscriptions.deliver` when there
    are any. An event that no endpoint wants leaves no row.
    Raises: EventTypeUncatalogued.
    """
    _check_types(events)
    listeners = _listeners(cursor, {event.tenant_id for event in events})
    rows = _Rows()
    for event in events:
        wanting = [
            one for one in listeners.get(event.tenant_id, ()) if one.wants(event)
        ]
        if wanting:
            rows.add(event, wanting)
    if rows.messages:
        _insert(cursor, rows)
    return len(rows.deliveries)


def message_body(message_id: UUID, event: Event) -> bytes:
    """Return the bytes that are stored, signed and sent."""
    return msgspec.json.encode(
        {
            "id": public_id("msg", message_id),
            "type": event.event_type,
            "timestamp": event.occurred_at.astimezone(UTC),
            "tenant": event.tenant_slug,
            "data": event.data,
        }
    )


def _check_types(events: Sequence[Event]) -> None:
    unknown = {event.event_type for event in events} - CATALOGUE.keys()
    if unknown:
        raise EventTypeUncatalogued(", ".join(sorted(unknown)))


def _listeners(cursor: Cursor, tenant_ids: set[int]) -> dict[int, list[_Listener]]:
    found: dict[int, list[_Listener]] = {}
    if not tenant_ids:
        return found
    # Served by endpoint_of_tenant. A tenant has tens of endpoints, not thousands
    # (ENDPOINT_LIMIT), so the patterns are matched here.
    cursor.execute(
        """SELECT tenant_id, id, event_types FROM subscriptions_endpoint
        WHERE tenant_id = ANY(%s::bigint[]) AND deleted_at IS NULL""",
        [list(tenant_ids)],
    )
    for tenant_id, endpoint_id, event_types in cursor.fetchall():
        listener = _Listener(endpoint_id, frozenset(event_types))
        found.setdefault(tenant_id, []).append(listener)
    return found


def _insert(cursor: Cursor, rows: _Rows) -> None:
    # One statement for all messages, one for all deliveries, whatever their number.
    cursor.execute(
        """INSERT INTO subscriptions_message (tenant_id, id, event_type, body)
        SELECT * FROM unnest(%s::bigint[], %s::uuid[], %s::text[], %s::bytea[])""",
        _columns(rows.messages),
    )
    cursor.execute(
        """INSERT INTO subscriptions_delivery
            (tenant_id, id, message_id, endpoint_id, event_type)
        SELECT * FROM unnest(
            %s::bigint[], %s::uuid[], %s::uuid[], %s::uuid[], %s::text[])""",
        _columns(rows.deliveries),
    )


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
