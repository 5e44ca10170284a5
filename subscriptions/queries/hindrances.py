"""What keeps an endpoint's messages from flowing, in words, and what to do about it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from subscriptions.models import (
    Breaker,
    Endpoint,
    EndpointStatus,
    MaintenanceWindow,
)


@dataclass(frozen=True)
class Hindrance:
    """One reason why messages wait, or soon will."""

    words: str
    advice: str
    #: `bad`: nothing flows. `warn`: it flows slowly, or may stop.
    tone: str = "bad"
    until: datetime | None = None


_STOPPED = {
    EndpointStatus.PENDING: Hindrance(
        "The callback URL has not consented yet.",
        "Its server must answer OPTIONS with WebHook-Allowed-Origin, or GET with the "
        "challenge. Then ask again.",
    ),
    EndpointStatus.PAUSED: Hindrance(
        "An admin paused it.", "Messages wait; Resume lets them flow."
    ),
    EndpointStatus.DISABLED: Hindrance(
        "The platform disabled it.",
        "Messages wait. Resume it once the receiver is well.",
    ),
}
_FAILING = Hindrance(
    "No attempt succeeds at present.",
    "After 5 days of nothing but failures it is disabled.",
    "warn",
)
#: Between two looks of a worker a rate that is used up is not used.
_JUST_NOW = timedelta(seconds=1)
_SECOND_LOOK = "It is probed by itself; see the last error."


#: Before its client certificate ends, an admin reads of it for so long.
_NOTICE = timedelta(days=14)


def hindrances(
    endpoint: Endpoint,
    windows: Sequence[MaintenanceWindow],
    now: datetime,
    *,
    is_waiting: bool = True,
) -> list[Hindrance]:
    """
    Return what hinders the endpoint's messages, the worst first; empty: nothing.

    `is_waiting`: whether there are any that could be hindered.
    """
    found = reasons_to_wait(endpoint, windows, now, is_waiting=is_waiting)
    if endpoint.failing_since is not None and endpoint.status == EndpointStatus.ACTIVE:
        found.append(_FAILING)
    found.extend(_ending(endpoint, now))
    return sorted(found, key=lambda one: one.tone != "bad")


def reasons_to_wait(
    endpoint: Endpoint,
    windows: Sequence[MaintenanceWindow],
    now: datetime,
    *,
    is_waiting: bool = True,
) -> list[Hindrance]:
    """Return why what is due may have to wait, the worst first; empty: for nothing."""
    stopped = _STOPPED.get(EndpointStatus(endpoint.status))
    found = [
        *([stopped] if stopped else []),
        *_held(endpoint, now),
        *(
            Hindrance(
                "A maintenance window is on.",
                _sentence(one.reason) or "Messages wait, and no attempt is spent.",
                "warn",
                one.end_at,
            )
            for one in windows
            if one.start_at <= now < one.end_at
        ),
        *(_slowed(endpoint, now) if is_waiting else ()),
    ]
    return sorted(found, key=lambda one: one.tone != "bad")


def _held(endpoint: Endpoint, now: datetime) -> Iterator[Hindrance]:
    held = endpoint.hold_until is not None and endpoint.hold_until > now
    if endpoint.breaker == Breaker.HALF_OPEN:
        yield Hindrance("The breaker lets one probe through.", _SECOND_LOOK, "warn")
    elif held:
        is_open = endpoint.breaker == Breaker.OPEN
        why = "The breaker is open: it failed too often." if is_open else "It is held."
        advice = endpoint.hold_reason or _SECOND_LOOK
        yield Hindrance(why, advice, "bad", endpoint.hold_until)
    elif endpoint.breaker == Breaker.OPEN:
        yield Hindrance("The breaker is open; a probe is due.", _SECOND_LOOK, "warn")
    if endpoint.oauth2_error:
        yield Hindrance(
            "No OAuth 2 token could be had.",
            f"{_sentence(endpoint.oauth2_error)} It is asked for again by itself; what "
            "is asked with is under Credentials.",
        )


def _sentence(text: str) -> str:
    """Return what somebody wrote, with its end; empty: they wrote nothing."""
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."


def _slowed(endpoint: Endpoint, now: datetime) -> Iterator[Hindrance]:
    if endpoint.draining_since is not None:
        yield Hindrance("What waited is being worked off.", _pace(endpoint), "warn")
    elif _is_rate_used_up(endpoint, now):
        words = "Its rate lets no more through just now."
        yield Hindrance(words, _pace(endpoint), "warn")


def _rates(endpoint: Endpoint) -> dict[str, int]:
    """Return the rates in force, a minute, with whose each is."""
    is_draining = endpoint.draining_since is not None
    rates = {
        "the receiver granted no more": endpoint.allowed_rate_per_min,
        "the limit in its settings": endpoint.max_rate_per_min,
        "the bound after a stop": is_draining and max(endpoint.drain_rate_per_min, 1),
    }
    return {whose: rate for whose, rate in rates.items() if rate}


def _pace(endpoint: Endpoint) -> str:
    """Return the lowest rate, and whose it is."""
    rates = _rates(endpoint)
    whose = min(rates, key=lambda one: rates[one])
    return f"At most {rates[whose]:,} requests a minute: {whose}."


def _is_rate_used_up(endpoint: Endpoint, now: datetime) -> bool:
    """Tell whether the next request must wait, or was let through just now."""
    rates = _rates(endpoint).values()
    if not rates:
        return False
    # The pace of subscriptions/services/limits.py.
    pace_s = 60 / (0.9 * min(rates))
    return endpoint.rate_used_until > now - timedelta(seconds=pace_s) - _JUST_NOW


def _ending(endpoint: Endpoint, now: datetime) -> Iterator[Hindrance]:
    ends_at = endpoint.certificate_expires_at
    if ends_at is None or ends_at > now + _NOTICE:
        return
    is_over = ends_at <= now
    yield Hindrance(
        f"The client certificate {'has ended' if is_over else 'ends soon'}.",
        f"It is good until {ends_at:%Y-%m-%d %H:%M} UTC: give the next one.",
        "bad" if is_over else "warn",
    )
