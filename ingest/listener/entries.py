"""Callbacks on their way into the ledger, alone or bundled, and their outcomes."""

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple
from uuid import UUID

from tenants.identifiers import new_id


class Verdict(Enum):
    """What became of a callback."""

    #: Committed now.
    ACCEPTED = 1
    #: The same bytes were committed before, under the receipt given.
    DUPLICATE = 2
    #: Other bytes were committed before under this transaction id.
    CONFLICT = 3
    #: Too many are waiting; not stored.
    OVERLOADED = 4
    #: Postgres is away, or did not say in time; a retry will tell.
    UNAVAILABLE = 5


class Outcome(NamedTuple):
    """A verdict, and the receipt that goes with the first two."""

    verdict: Verdict
    receipt: UUID | None = None


OVERLOADED = Outcome(Verdict.OVERLOADED)
UNAVAILABLE = Outcome(Verdict.UNAVAILABLE)
CONFLICT = Outcome(Verdict.CONFLICT)


@dataclass(slots=True, eq=False)
class Entry:
    """A verified callback on its way into the ledger."""

    tenant_id: int
    source_id: UUID
    transaction_id: str
    digest: bytes
    content_type: str
    body: bytes | memoryview
    #: By the event loop's clock.
    deadline_at: float
    #: The device whose own key signed it; None: the source's did.
    signed_by: str | None = None
    receipt: UUID = field(default_factory=new_id)
    #: Whether a commit of it was begun before, on a connection that was lost.
    is_retry: bool = False
    future: asyncio.Future[Outcome] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def resolve(self, outcome: Outcome) -> None:
        """Tell the caller, unless it was told already."""
        if not self.future.done():
            self.future.set_result(outcome)


def by_key(entry: Entry) -> tuple[int, bytes, str]:
    """Return what entries are sorted by before they are stored."""
    return entry.tenant_id, entry.source_id.bytes, entry.transaction_id


@dataclass(slots=True, eq=False)
class Bundle:
    """
    Callbacks of one sender that are stored all together or not at all.

    Their own futures are not used.
    """

    entries: list[Entry]
    deadline_at: float
    is_retry: bool = False
    future: asyncio.Future[list[Outcome]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def resolve(self, outcomes: list[Outcome]) -> None:
        """Tell the caller, unless it was told already."""
        if not self.future.done():
            self.future.set_result(outcomes)

    def refuse(self, outcome: Outcome) -> None:
        """Tell the caller the same of all."""
        self.resolve([outcome] * len(self.entries))
