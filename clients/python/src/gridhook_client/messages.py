"""What a message says, read from bytes that were verified already."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

#: Characters of an id.
ID_LIMIT = 255


class Unreadable(ValueError):
    """The bytes are no message; the text says why, and repeats nothing of them."""


@dataclass(frozen=True)
class Place:
    """Where a message stands among those about one device, at an ordered endpoint."""

    device: str
    sequence: int
    #: The message before it; None: it is the first.
    previous_id: str | None


@dataclass(frozen=True)
class Message:
    """One message: numbers in `data` are whole numbers or decimals, never floats."""

    id: str
    type: str
    timestamp: datetime
    tenant: str
    data: dict[str, Any]
    #: One for each device that it is about; empty: the endpoint is not ordered.
    order: tuple[Place, ...] = ()

    @property
    def sequence(self) -> int | None:
        """Its number among those about its one device."""
        return self.order[0].sequence if len(self.order) == 1 else None

    @property
    def previous_id(self) -> str | None:
        """The message before it about its one device."""
        return self.order[0].previous_id if len(self.order) == 1 else None


def parse(body: bytes) -> Any:
    """
    Return what the JSON says.

    Raises: Unreadable.
    """
    try:
        return json.loads(
            body.decode("utf-8"),
            parse_float=Decimal,
            parse_constant=_refuse_constant,
        )
    # A number of more digits than Python reads is a ValueError, deep nesting the other.
    except (ValueError, ArithmeticError, RecursionError):
        raise Unreadable("The body is no JSON.") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def message_of(document: Any) -> Message:
    """
    Return the message that a body's JSON is.

    Raises: Unreadable.
    """
    members = _object(document)
    return Message(
        id=_text(members, "id"),
        type=_text(members, "type"),
        timestamp=_moment(members, "timestamp"),
        tenant=_text(members, "tenant"),
        data=_object(members.get("data")),
        order=_order(members),
    )


def message_of_event(document: Any) -> Message:
    """
    Return the message that one CloudEvent of a batch is.

    Raises: Unreadable.
    """
    event = _object(document)
    places = _order_of_event(event)
    return Message(
        id=_text(event, "id"),
        type=_text(event, "type"),
        timestamp=_moment(event, "time"),
        tenant=_text(event, "tenant"),
        data=_object(event.get("data")),
        order=places,
    )


def _order(members: Mapping[str, Any]) -> tuple[Place, ...]:
    if "order" in members:
        listed = members["order"]
        if not isinstance(listed, list):
            raise Unreadable("`order` is no list.")
        return tuple(_place(_object(one)) for one in listed)
    return (_place(members),) if "sequence" in members else ()


def _place(members: Mapping[str, Any]) -> Place:
    previous_id = members.get("previous_id")
    return Place(
        device=_text(members, "device"),
        sequence=_count(members.get("sequence")),
        previous_id=None if previous_id is None else _text(members, "previous_id"),
    )


def _order_of_event(event: Mapping[str, Any]) -> tuple[Place, ...]:
    """Return the places; a CloudEvent's own attributes are text alone."""
    if "order" in event:
        text = event["order"]
        if not isinstance(text, str):
            raise Unreadable("`order` is no text.")
        return _order({"order": parse(text.encode("utf-8", "surrogatepass"))})
    if "sequence" not in event:
        return ()
    digits = event["sequence"]
    if not isinstance(digits, str) or not digits.isascii() or not digits.isdigit():
        raise Unreadable("`sequence` is no number.")
    has_previous = event.get("previousid") is not None
    return (
        Place(
            device=_text(event, "device"),
            sequence=_count(_whole(digits)),
            previous_id=_text(event, "previousid") if has_previous else None,
        ),
    )


def _whole(digits: str) -> int:
    return int(digits) if len(digits) <= ID_LIMIT else -1


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise Unreadable("`sequence` is no number.")
    return value


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable("A JSON object is missing.")
    return value


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= ID_LIMIT:
        raise Unreadable(f"`{name}` is no text of 1 to {ID_LIMIT} characters.")
    return value


def _moment(members: Mapping[str, Any], name: str) -> datetime:
    # Python 3.10 reads no `Z`, and no fraction but of 3 or 6 digits.
    text = _text(members, name).replace("Z", "+00:00")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Unreadable(f"`{name}` is no moment.") from None
    if moment.tzinfo is None:
        raise Unreadable(f"`{name}` has no offset.")
    return moment
