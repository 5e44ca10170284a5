"""Something that happened, on its way to becoming messages."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from subscriptions.filtering import Subject

#: Devices that a message is found by, and kept in order by, at most.
MOST_DEVICES = 10_000


def _nothing() -> Collection[Subject]:
    return ()


@dataclass(frozen=True)
class Event:
    """
    Something that happened in a tenant.

    `endpoint_id`: this endpoint alone is told, whether it asked for it or not.
    `but_endpoint_id`: this endpoint is not told, although it asked.
    `also_endpoint_id`: this endpoint is told too, although it did not ask.
    """

    tenant_id: int
    tenant_slug: str
    event_type: str
    data: dict[str, Any]
    occurred_at: datetime
    endpoint_id: UUID | None = None
    but_endpoint_id: UUID | None = None
    also_endpoint_id: UUID | None = None
    #: The callback that it came of; None: none.
    receipt_id: UUID | None = None
    #: The source that the callback came through; None: none.
    source_id: UUID | None = None
    #: What it is about. Asked once, and only where an endpoint hears of the type.
    subjects: Callable[[], Collection[Subject]] = _nothing
