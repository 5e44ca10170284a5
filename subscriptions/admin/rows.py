"""Deliveries and attempts as rows of a page, in words and colours."""

from typing import Any

from django.urls import reverse

from subscriptions.models import Delivery, DeliveryStatus, EndpointStatus
from subscriptions.outcomes import outcome_words

TONES = {
    EndpointStatus.ACTIVE: "good",
    EndpointStatus.PENDING: "warn",
    EndpointStatus.PAUSED: "quiet",
    EndpointStatus.DISABLED: "bad",
    DeliveryStatus.DELIVERED: "good",
    DeliveryStatus.DEAD: "bad",
    DeliveryStatus.CANCELLED: "quiet",
}
#: The list's colours of a delivery's status.
STATUS_LABELS = {
    "Delivered": "success",
    "Pending": "warning",
    "Retrying": "danger",
    "Dead": "danger",
    "Cancelled": "info",
}


def status_word(delivery: Delivery) -> str:
    """Return a delivery's status; one that failed before is retrying."""
    if delivery.status == DeliveryStatus.PENDING and delivery.last_error:
        return "Retrying"
    return DeliveryStatus(delivery.status).label


def delivery_row(delivery: Delivery) -> dict[str, Any]:
    """Return what a table shows of a delivery."""
    word = status_word(delivery)
    tone = TONES.get(DeliveryStatus(delivery.status), "warn")
    return {
        "delivery": delivery,
        "href": reverse("admin:subscriptions_delivery_change", args=[delivery.pk]),
        "status": word,
        "tone": "bad" if word == "Retrying" else tone,
        "outcome": outcome_words(delivery.last_status_code, delivery.last_error),
    }
