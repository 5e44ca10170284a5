"""What is claimed ahead: it waits until its endpoint takes one more request."""

from collections import deque
from uuid import UUID

from subscriptions.services.delivering.pacing import Pacing
from subscriptions.services.delivering.parcels import Parcel


class ClaimedAhead:
    """Parcels in waiting, by endpoint; only who is quick has any for long."""

    def __init__(self, pacing: Pacing) -> None:
        self._pacing = pacing
        self._parcels: dict[UUID, deque[Parcel]] = {}

    def __len__(self) -> int:
        """Return how many endpoints have something in waiting."""
        return len(self._parcels)

    def put(self, parcel: Parcel) -> None:
        """Have the parcel wait."""
        endpoint_id = parcel.first.endpoint_id
        self._parcels.setdefault(endpoint_id, deque()).append(parcel)
        self._pacing.wait(endpoint_id, 1)

    def next_of(self, endpoint_id: UUID) -> Parcel | None:
        """Return the endpoint's next parcel if it takes one more; None: none."""
        parcels = self._parcels.get(endpoint_id)
        if parcels is None or not self._pacing.may_begin(endpoint_id):
            return None
        parcel = parcels.popleft()
        self._pacing.wait(endpoint_id, -1)
        if not parcels:
            del self._parcels[endpoint_id]
        return parcel

    def hopeless(self, now: float) -> list[Parcel]:
        """Take out what waits for endpoints that are slow, fail or ask for fewer."""
        stuck = [one for one in self._parcels if self._pacing.is_stuck(one, now)]
        return [parcel for one in stuck for parcel in self._taken(one)]

    def all(self) -> list[Parcel]:
        """Take out everything."""
        return [parcel for one in list(self._parcels) for parcel in self._taken(one)]

    def _taken(self, endpoint_id: UUID) -> deque[Parcel]:
        parcels = self._parcels.pop(endpoint_id)
        self._pacing.wait(endpoint_id, -len(parcels))
        return parcels
