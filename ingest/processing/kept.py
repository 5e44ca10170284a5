"""The parsed bodies of large callbacks that a worker goes on with."""

from collections import OrderedDict
from datetime import datetime
from uuid import UUID

from ingest.formats.parsed import Parsed

#: Bodies that are kept at most …
MOST_KEPT = 2
#: … and their readings, when there are several: 100,000 take some 60 MB.
MOST_READINGS = 250_000


class Kept:
    """Each body with the clock that it was parsed by."""

    def __init__(self) -> None:
        self._parsed: OrderedDict[UUID, tuple[datetime, Parsed]] = OrderedDict()

    @property
    def ids(self) -> list[UUID]:
        """Whose bodies they are."""
        return list(self._parsed)

    def find(self, callback_id: UUID, began_at: datetime) -> Parsed | None:
        """Return the body parsed by this clock, when it is kept."""
        at, parsed = self._parsed.get(callback_id, (None, None))
        return parsed if at == began_at else None

    def keep(self, callback_id: UUID, began_at: datetime, parsed: Parsed) -> None:
        """Keep a body, and forget the one that was kept first when they are many."""
        self._parsed[callback_id] = began_at, parsed
        while len(self._parsed) > 1 and self._is_much():
            self._parsed.popitem(last=False)

    def _is_much(self) -> bool:
        readings = sum(len(parsed.readings) for _, parsed in self._parsed.values())
        return len(self._parsed) > MOST_KEPT or readings > MOST_READINGS

    def forget(self, callback_id: UUID) -> None:
        """Forget a body that is done with."""
        self._parsed.pop(callback_id, None)
