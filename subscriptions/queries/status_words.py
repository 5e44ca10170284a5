"""How a delivery stands, in a word and a tone, as all pages show it."""

from subscriptions.models import Delivery, DeliveryStatus, EndpointStatus

_TONES = {
    DeliveryStatus.DELIVERED: "good",
    DeliveryStatus.DEAD: "bad",
    DeliveryStatus.CANCELLED: "quiet",
}


def status_words(delivery: Delivery) -> tuple[str, str]:
    """Return the word and its tone; what failed before is retried, or held up."""
    status = DeliveryStatus(delivery.status)
    if status != DeliveryStatus.PENDING:
        return str(status.label), _TONES[status]
    if delivery.endpoint.status != EndpointStatus.ACTIVE:
        return "Waits for its endpoint", "warn"
    return ("Retrying", "bad") if delivery.last_error else (str(status.label), "warn")
