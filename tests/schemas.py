"""Whether what the platform tells is what its catalogue says."""

import sys
from functools import lru_cache
from typing import Any

import jsonschema_rs
import msgspec

from subscriptions.catalogue import CATALOGUE
from subscriptions.events import Event


def closed(schema: Any) -> Any:
    """Return the schema without room for members that it does not name."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    shape = {name: closed(value) for name, value in schema.items()}
    if shape.get("type") == "object":
        shape["additionalProperties"] = False
    return shape


@lru_cache
def _validator(event_type: str) -> Any:
    schema = closed(CATALOGUE[event_type].schema)
    return jsonschema_rs.validator_for(schema, validate_formats=True)


def check_data(event_type: str, data: Any) -> None:
    """
    Compare an event's data with its schema.

    Raises: jsonschema_rs.ValidationError.
    """
    _validator(event_type).validate(msgspec.json.decode(msgspec.json.encode(data)))


def check_told(events: list[Event]) -> None:
    """Compare the events of whoever publishes now; a test may tell what it likes."""
    # Past the fixture's own function and `publish`.
    teller = sys._getframe(3).f_globals["__name__"]
    if "tests" not in teller.split("."):
        for event in events:
            check_data(event.event_type, event.data)
