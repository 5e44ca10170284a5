"""What the catalogue says of one type of event."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from subscriptions.catalogue.schemas import Schema

#: What an endpoint asks for in order to hear everything.
EVERY_TYPE = "*"


@dataclass(frozen=True)
class EventType:
    """
    One type of event.

    `schema` is the JSON Schema of `data`, `example` an instance of it. A thin message
    carries the members in `thin` alone, and where the rest is to be had: `resource`, a
    path of the API with members of `data` in it.
    """

    name: str
    description: str
    schema: Schema
    example: dict[str, Any]
    thin: tuple[str, ...]
    resource: str
    #: Whether it overtakes what is not.
    urgent: bool = False

    def thin_data(self, data: Mapping[str, Any], site: str) -> dict[str, Any]:
        """Return `data` for whoever wants ids alone; `site` is where the API is."""
        kept = {name: data[name] for name in self.thin if name in data}
        filled = self.resource.format_map(
            {name: quote(str(value), safe="") for name, value in data.items()}
        )
        return {**kept, "url": f"{site}/api/v1{filled}"}

    @property
    def thin_example(self) -> dict[str, Any]:
        """The example, thin."""
        return self.thin_data(self.example, "https://gridhook.example")


def patterns_for(event_type: str) -> frozenset[str]:
    """Return what an endpoint may ask for in order to hear of this type."""
    parts = event_type.split(".")
    groups = {".".join(parts[:size]) + ".*" for size in range(1, len(parts))}
    return frozenset({event_type, EVERY_TYPE, *groups})
