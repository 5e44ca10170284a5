"""When an endpoint is spared, warned of, and given up: pure, on its row's columns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

#: An endpoint that has done nothing but fail for this long is disabled.
PATIENCE = timedelta(days=5)
#: The shares of it, in percent, after which its admins are warned, once each.
WARNINGS = (50, 70, 90)
#: Without an attempt for this long, and for two of the schedule's longest pauses, it
#: did not fail meanwhile: nobody tried.
LULL = timedelta(days=2)
#: The longest pause between two probes of an open breaker.
LONGEST_PAUSE_S = 300.0
#: Of a schedule without pauses.
_ONLY_PAUSE_S = 5.0
GONE = "The server answered 410 (gone)."
FAILED = f"Every attempt failed for {PATIENCE.days} days."
ASKED = "The server asked to be left alone for a while (Retry-After)."
OPEN = "Too many of the latest requests failed."
PROBED = "The latest probe failed."


@dataclass(frozen=True)
class Health:
    """An endpoint's health as its row has it, and what it takes to tell of it."""

    endpoint_id: UUID
    tenant_id: int
    tenant_slug: str
    url: str
    now: datetime
    status: str
    status_detail: str
    failing_since: datetime | None
    failing_warned: int
    breaker: str
    breaker_trips: int
    hold_until: datetime | None
    hold_reason: str
    #: When it was tried before; None: never, or nobody knows.
    tried_at: datetime | None = None

    @property
    def is_disabled(self) -> bool:
        """Whether the platform gave it up."""
        return self.status == "disabled"


@dataclass(frozen=True)
class Seen:
    """What one worker saw of an endpoint, in results that it writes together."""

    endpoint_id: UUID
    #: Where they were sent: of another URL than the endpoint's they say nothing.
    url: str
    #: Whether any of them succeeded.
    is_well: bool
    #: Whether it wants no message ever again.
    is_gone: bool = False
    #: The longest that it asked to be left alone for.
    hold_s: float = 0.0
    #: How far back the evidence goes that opens the breaker; None: there is none.
    evidence_s: float | None = None
    #: Whether the breaker's probe succeeded; None: there was none among them.
    probe: bool | None = None

    @property
    def is_marked(self) -> bool:
        """Whether it changes the endpoint, however that stands."""
        return (
            self.is_gone
            or self.hold_s > 0
            or self.evidence_s is not None
            or self.probe is not None
        )


def breaker_pause_s(trips: int, schedule: Sequence[float]) -> float:
    """Return how long an open breaker waits for its next probe, after so many."""
    first = min(schedule[0] if schedule else _ONLY_PAUSE_S, LONGEST_PAUSE_S)
    longest = max(first, min(LONGEST_PAUSE_S, max(schedule, default=first)))
    return min(first * 2.0 ** min(trips, 64), longest)


def after(health: Health, seen: Seen, schedule: Sequence[float]) -> Health:
    """Return the endpoint's health after what was seen."""
    health = _noted(health, schedule, is_well=seen.is_well)
    health = _broken(health, seen, schedule)
    if seen.hold_s > 0:
        until = health.now + timedelta(seconds=seen.hold_s)
        if health.hold_until is None or health.hold_until < until:
            health = replace(health, hold_until=until, hold_reason=ASKED)
    if seen.is_gone and health.status == "active":
        health = replace(health, status="disabled", status_detail=GONE)
    return health


def _noted(health: Health, schedule: Sequence[float], *, is_well: bool) -> Health:
    if is_well:
        return replace(health, failing_since=None, failing_warned=0)
    lull = max(LULL, timedelta(seconds=2 * max(schedule, default=0.0)))
    if health.tried_at is not None and health.now - health.tried_at > lull:
        health = replace(health, failing_since=None, failing_warned=0)
    since = health.failing_since or health.now
    used = int((health.now - since) / PATIENCE * 100)
    warned = max((one for one in WARNINGS if one <= used), default=0)
    warned = max(warned, health.failing_warned)
    if health.status == "active" and health.now - since > PATIENCE:
        health = replace(health, status="disabled", status_detail=FAILED)
    return replace(health, failing_since=since, failing_warned=warned)


def _broken(health: Health, seen: Seen, schedule: Sequence[float]) -> Health:
    if seen.probe is not None and health.breaker == "half_open":
        if seen.probe:
            # Evidence from before this moment opens it no more.
            return _held(health, "closed", 0, 0.0, "")
        trips = min(health.breaker_trips + 1, 1_000)
        return _held(health, "open", trips, breaker_pause_s(trips, schedule), PROBED)
    if seen.evidence_s is None or health.breaker != "closed":
        return health
    oldest = health.now - timedelta(seconds=seen.evidence_s)
    if health.hold_until is not None and health.hold_until > oldest:
        return health
    return _held(health, "open", 0, breaker_pause_s(0, schedule), OPEN)


def _held(
    health: Health, breaker: str, trips: int, pause_s: float, reason: str
) -> Health:
    return replace(
        health,
        breaker=breaker,
        breaker_trips=trips,
        hold_until=health.now + timedelta(seconds=pause_s),
        hold_reason=reason,
    )
