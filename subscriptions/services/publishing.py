"""Telling endpoints: an event becomes one message and a delivery for each endpoint."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from subscriptions.catalogue import CATALOGUE
from subscriptions.events import MOST_DEVICES, Event
from subscriptions.filtering import About
from subscriptions.models import Lane
from subscriptions.rendering import Bodies, Place
from subscriptions.services.audience import Audience, Listener
from subscriptions.services.ordering import Places, Turn, take_places
from tenants.database import Cursor, columns
from tenants.identifiers import new_id

__all__ = ["Event", "EventTypeUncatalogued", "publish"]


class EventTypeUncatalogued(LookupError):
    """The platform published an event whose type is not in the catalogue."""


@dataclass(slots=True)
class _Telling:
    """An event that somebody hears of."""

    event: Event
    message_id: UUID
    devices: list[str]
    #: Each with the id of its delivery.
    listeners: list[tuple[Listener, UUID]]
    bodies: Bodies = field(init=False)

    def __post_init__(self) -> None:
        self.bodies = Bodies(self.message_id, self.event)

    def turns(self) -> Iterable[Turn]:
        """Return the lanes that it queues in."""
        for listener, delivery_id in self.listeners:
            if listener.is_ordered:
                for device in self.devices:
                    yield Turn(
                        self.event.tenant_id,
                        listener.endpoint_id,
                        device,
                        delivery_id,
                        self.message_id,
                    )

    def message(self) -> tuple[Any, ...]:
        """Return the message's row."""
        event = self.event
        return (
            event.tenant_id,
            self.message_id,
            event.event_type,
            event.receipt_id,
            self.bodies.common,
        )

    def deliveries(self, places: Places) -> Iterable[tuple[Any, ...]]:
        """Return the deliveries' rows."""
        event = self.event
        urgent = CATALOGUE[event.event_type].urgent
        lane = int(Lane.URGENT if urgent else Lane.FRESH)
        for listener, delivery_id in self.listeners:
            mine: Sequence[Place] = places.by_delivery.get(delivery_id, ())
            yield (
                event.tenant_id,
                delivery_id,
                self.message_id,
                listener.endpoint_id,
                event.event_type,
                lane,
                bool(mine),
                delivery_id in places.waiting,
                self.bodies.own(
                    is_thin=listener.is_thin,
                    api_version=listener.api_version,
                    places=mine,
                ),
            )


def publish(cursor: Cursor, events: Sequence[Event]) -> int:
    """
    Write messages and deliveries for the events, in the transaction that is open.

    Returns the deliveries written; the caller rings `subscriptions.deliver` when there
    are any. An event that no endpoint wants leaves no row.
    Raises: EventTypeUncatalogued.
    """
    _check_types(events)
    audience = Audience(cursor, (event.tenant_id for event in events))
    told = [one for event in events if (one := _telling(audience, event))]
    if not told:
        return 0
    turns = [turn for one in told for turn in one.turns()]
    places = take_places(cursor, turns) if turns else Places({}, set())
    _insert_messages(cursor, [one.message() for one in told])
    _insert_devices(cursor, told)
    return _insert_deliveries(
        cursor, [row for one in told for row in one.deliveries(places)]
    )


def _telling(audience: Audience, event: Event) -> _Telling | None:
    hearing = audience.hearing(event)
    if not hearing:
        return None
    about = About(event.subjects())
    passing = audience.passing(event, hearing, about)
    if not passing:
        return None
    devices = sorted(about.devices)[:MOST_DEVICES]
    return _Telling(event, new_id(), devices, [(one, new_id()) for one in passing])


def _check_types(events: Sequence[Event]) -> None:
    unknown = {event.event_type for event in events} - CATALOGUE.keys()
    if unknown:
        raise EventTypeUncatalogued(", ".join(sorted(unknown)))


# One statement for all messages, one for all deliveries, whatever their number.


def _insert_messages(cursor: Cursor, rows: Sequence[tuple[Any, ...]]) -> None:
    cursor.execute(
        """INSERT INTO subscriptions_message
            (tenant_id, id, event_type, receipt_id, body)
        SELECT * FROM unnest(
            %s::bigint[], %s::uuid[], %s::text[], %s::uuid[], %s::bytea[])""",
        columns(rows),
    )


def _insert_devices(cursor: Cursor, told: Iterable[_Telling]) -> None:
    rows = [
        (one.event.tenant_id, device, one.message_id)
        for one in told
        for device in one.devices
    ]
    if rows:
        cursor.execute(
            """INSERT INTO subscriptions_messagedevice (tenant_id, device, message_id)
            SELECT * FROM unnest(%s::bigint[], %s::text[], %s::uuid[])""",
            columns(rows),
        )


def _insert_deliveries(cursor: Cursor, rows: Sequence[tuple[Any, ...]]) -> int:
    cursor.execute(
        """INSERT INTO subscriptions_delivery (tenant_id, id, message_id, endpoint_id,
            event_type, lane, is_ordered, next_attempt_at, body)
        SELECT tenant_id, id, message_id, endpoint_id, event_type, lane, is_ordered,
            CASE WHEN NOT waits THEN now() END, body
        FROM unnest(%s::bigint[], %s::uuid[], %s::uuid[], %s::uuid[], %s::text[],
            %s::bigint[], %s::bool[], %s::bool[], %s::bytea[])
            AS k (tenant_id, id, message_id, endpoint_id, event_type, lane, is_ordered,
                waits, body)""",
        columns(rows),
    )
    return len(rows)
