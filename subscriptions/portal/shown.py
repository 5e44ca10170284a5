"""What a visitor sees: without secrets, and without the tenant's own people."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.utils import timezone

from subscriptions.models import Delivery, DeliveryStatus, EndpointStatus
from subscriptions.portal.access import Visit
from subscriptions.queries.health import SAMPLE, Health
from subscriptions.queries.outcome_words import outcome_words
from subscriptions.queries.status_words import status_words
from subscriptions.queries.timeline import Step, attempts_shown, story, timeline

_BODY_SHOWN_BYTES = 16 * 1024
#: Seconds between looks at what is about to be sent, and at what is not.
_SOON_S, _LATER_S = 3, 30
_RETRYABLE = {DeliveryStatus.PENDING, DeliveryStatus.DELIVERED, DeliveryStatus.DEAD}


def row_shown(visit: Visit, delivery: Delivery) -> dict[str, Any]:
    """Return a line of the list."""
    words, tone = status_words(delivery)
    return {
        "delivery": delivery,
        "message": f"msg_{delivery.message_id.hex}",
        "href": f"{visit.home}deliveries/{delivery.public_id}/",
        "words": words,
        "tone": tone,
        "outcome": outcome_words(delivery.last_status_code, delivery.last_error),
    }


def delivery_shown(visit: Visit, delivery: Delivery) -> dict[str, Any]:
    """Return all that a visitor sees of a delivery."""
    sent = bytes(delivery.message.body if delivery.body is None else delivery.body)
    return {
        "row": row_shown(visit, delivery),
        "story": story(delivery, attempts_shown(visit.tenant, delivery)),
        "steps": [_unnamed(step) for step in timeline(visit.tenant, delivery)],
        "body": sent[:_BODY_SHOWN_BYTES].decode("utf-8", "replace"),
        "is_cut": len(sent) > _BODY_SHOWN_BYTES,
        "may_retry": delivery.status in _RETRYABLE
        and delivery.endpoint.status != EndpointStatus.DISABLED,
        "reload_s": reload_s(delivery),
    }


def reload_s(delivery: Delivery) -> int:
    """Return the seconds after which there may be news; 0: none will come by itself."""
    if delivery.status != DeliveryStatus.PENDING:
        return 0
    if delivery.endpoint.status != EndpointStatus.ACTIVE:
        return _LATER_S
    due_at = delivery.next_attempt_at
    is_soon = due_at is not None and due_at <= timezone.now() + timedelta(minutes=1)
    return _SOON_S if is_soon else _LATER_S


def _unnamed(step: Step) -> Step:
    """Leave out which of the tenant's people did it, and what they say of it."""
    if step.kind not in {"deed", "ended", "held"}:
        return step
    return replace(step, title=step.title.partition(" by ")[0], detail="")


def percent(share: float | None) -> str:
    """Return a share in words; all is said only when it is all."""
    if share is None:
        return ""
    return "all" if share == 1 else f"{int(share * 1000) / 10:g} %"


def of_attempts(stands: Health) -> str:
    """Return how many attempts the share is of."""
    if not stands.attempts:
        return "no attempt yet"
    latest = "the latest " if stands.attempts >= SAMPLE else ""
    return f"of {latest}{stands.attempts:,} attempt{'s' * (stands.attempts > 1)}"


def long_time(seconds: float) -> str:
    """Return a time as a person would say it."""
    for unit, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * unit:
            return f"{round(seconds / unit)} {name}s"
    return f"{round(seconds)} seconds"
