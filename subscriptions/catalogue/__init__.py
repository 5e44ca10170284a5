"""The catalogue: every type of event, what it says, and an example of its data."""

from subscriptions.catalogue import billing, endpoints, metering
from subscriptions.catalogue.entry import EVERY_TYPE, EventType, patterns_for

CATALOGUE: dict[str, EventType] = {
    one.name: one for one in (*metering.TYPES, *billing.TYPES, *endpoints.TYPES)
}

#: All that an endpoint may ask for: the types, `group.*`, and `*`.
PATTERNS = frozenset().union(*(patterns_for(name) for name in CATALOGUE))

__all__ = ["CATALOGUE", "EVERY_TYPE", "PATTERNS", "EventType", "patterns_for"]
