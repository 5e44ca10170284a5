"""The bytes that endpoints are sent: one shape for most, their own for some."""

from collections.abc import Sequence
from datetime import UTC
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.conf import settings

from subscriptions import api_versions
from subscriptions.api_versions import Document
from subscriptions.catalogue import CATALOGUE
from subscriptions.events import Event
from tenants.identifiers import public_id

_encode = msgspec.json.Encoder().encode


class Place(NamedTuple):
    """Where a message stands among an ordered endpoint's messages about a device."""

    device: str
    sequence: int
    #: The message before it; None: it is the first.
    previous_id: UUID | None


class Bodies:
    """The bodies of one message, each made once."""

    def __init__(self, message_id: UUID, event: Event) -> None:
        self._document: Document = {
            "id": public_id("msg", message_id),
            "type": event.event_type,
            "timestamp": event.occurred_at.astimezone(UTC),
            "tenant": event.tenant_slug,
            "data": event.data,
        }
        self._shapes: dict[tuple[bool, str], Document] = {}
        #: What everybody is sent who asked for nothing else.
        self.common: bytes = _encode(self._document)

    def own(
        self, *, is_thin: bool, api_version: str, places: Sequence[Place] = ()
    ) -> bytes | None:
        """Return an endpoint's own bytes; None: the common ones."""
        if not (is_thin or places) and api_version == api_versions.latest():
            return None
        document = self._shape(is_thin, api_version)
        if places:
            document = _in_order(document, places)
        body = _encode(document)
        return None if body == self.common else body

    def _shape(self, is_thin: bool, api_version: str) -> Document:
        found = self._shapes.get((is_thin, api_version))
        if found is None:
            document = self._thin() if is_thin else self._document
            found = api_versions.render(api_version, document)
            self._shapes[is_thin, api_version] = found
        return found

    def _thin(self) -> Document:
        kind = CATALOGUE[self._document["type"]]
        data = kind.thin_data(self._document["data"], settings.CONSOLE_URL.rstrip("/"))
        return {**self._document, "data": data}


def _in_order(document: Document, places: Sequence[Place]) -> Document:
    """Return the document with its place; the data comes last, as ever."""
    shown = [_shown(place) for place in places]
    order = shown[0] if len(shown) == 1 else {"order": shown}
    head = {name: value for name, value in document.items() if name != "data"}
    return {**head, **order, "data": document["data"]}


def _shown(place: Place) -> dict[str, Any]:
    before = place.previous_id
    return {
        "device": place.device,
        "sequence": place.sequence,
        "previous_id": None if before is None else public_id("msg", before),
    }
