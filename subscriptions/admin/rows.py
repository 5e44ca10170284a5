"""Deliveries and attempts as rows of a page, in words and colours."""

from datetime import datetime
from typing import Any

from django.urls import reverse
from django.utils.timesince import timesince

from subscriptions.models import Delivery, EndpointStatus
from subscriptions.queries.outcome_words import outcome_words
from subscriptions.queries.status_words import status_words

TONES = {
    EndpointStatus.ACTIVE: "good",
    EndpointStatus.PENDING: "warn",
    EndpointStatus.PAUSED: "quiet",
    EndpointStatus.DISABLED: "bad",
}
#: The list's colours of a delivery's status.
STATUS_LABELS = {
    "Delivered": "success",
    "Waiting": "warning",
    "Waits for its endpoint": "warning",
    "Retrying": "danger",
    "Given up": "danger",
    "Cancelled": "info",
}
#: Up to here seconds matter.
_SECONDS_MATTER_S = 120


def passed(since: datetime, until: datetime) -> str:
    """Return how much time lies between, as exactly as it matters."""
    seconds = (until - since).total_seconds()
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < _SECONDS_MATTER_S:
        return f"{seconds:.0f} s"
    return timesince(since, until)


def delivery_row(delivery: Delivery) -> dict[str, Any]:
    """Return what a table shows of a delivery."""
    word, tone = status_words(delivery)
    return {
        "delivery": delivery,
        "href": reverse("admin:subscriptions_delivery_change", args=[delivery.pk]),
        "status": word,
        "tone": tone,
        "outcome": outcome_words(delivery.last_status_code, delivery.last_error),
    }
