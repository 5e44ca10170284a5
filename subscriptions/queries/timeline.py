"""The way of one delivery, from the device's callback to each attempt, in words."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from subscriptions.models import Attempt, Delivery, DeliveryStatus, EndpointStatus
from subscriptions.queries.endpoints import windows_ahead
from subscriptions.queries.exchanges import Exchange, exchange_of
from subscriptions.queries.hindrances import reasons_to_wait
from subscriptions.queries.outcome_words import outcome_words
from tenants.identifiers import public_id
from tenants.models import AuditEntry, Tenant

#: Attempts that a page shows; the schedule makes ten, people may add some.
_MOST_ATTEMPTS = 100
_MOST_DEEDS = 50
#: What the audit trail's words mean to a person.
_DEEDS = {
    "delivery.retried": "Sent again by hand",
    "delivery.discarded": "Discarded",
}


@dataclass(frozen=True)
class Step:
    """Something that happened to the message, or that is to come."""

    #: `received`, `processed`, `published`, `attempt`, `deed`, `ended`, `ahead`, or
    #: `held`: it is due, and waits until then.
    kind: str
    #: Null: nobody knows yet.
    at: datetime | None
    title: str
    detail: str = ""
    #: `good`, `bad`, `warn` or `quiet`.
    tone: str = "quiet"
    #: Since the step before.
    wait: timedelta | None = None
    attempt: Attempt | None = None
    exchange: Exchange | None = None


@dataclass(frozen=True)
class Origin:
    """The callback that a message tells of, as the message itself says."""

    receipt: str = ""
    #: The id of the callback's page; null: the message is about no callback.
    receipt_id: UUID | None = None
    transaction_id: str = ""
    steps: list[Step] = field(default_factory=list)


def attempts_shown(tenant: Tenant, delivery: Delivery) -> list[Attempt]:
    """Return the delivery's latest attempts, oldest first."""
    found = Attempt.objects.filter(tenant=tenant, delivery=delivery)
    latest = found.order_by("-number", "-started_at")[:_MOST_ATTEMPTS]
    return sorted(latest, key=lambda one: (one.started_at, one.number))


def timeline(tenant: Tenant, delivery: Delivery) -> list[Step]:
    """Return all that happened to the message on its way, oldest first."""
    attempts = attempts_shown(tenant, delivery)
    past = [
        *origin_of(delivery).steps,
        Step("published", delivery.created_at, f"Published as {delivery.event_type}"),
        *(_attempted(delivery, attempt) for attempt in attempts),
        *_deeds(tenant, delivery),
    ]
    past.sort(key=lambda step: step.at or delivery.created_at)
    return _with_waits([*past, *_now(tenant, delivery)])


def origin_of(delivery: Delivery) -> Origin:
    """Return the callback that the delivery's message tells of."""
    told = _told(bytes(delivery.message.body))
    steps = [
        Step(kind, moment, title)
        for kind, title in (("received", "Received"), ("processed", "Processed"))
        if (moment := _moment(told.get(f"{kind}_at")))
    ]
    transaction_id = _text(told.get("transaction_id"))
    if steps and transaction_id:
        steps[0] = replace(steps[0], detail=f"Transaction {transaction_id}")
    receipt_id = delivery.message.receipt_id
    receipt = public_id("rcp", receipt_id) if receipt_id else ""
    return Origin(
        receipt=receipt or _text(told.get("receipt")),
        receipt_id=receipt_id,
        transaction_id=transaction_id,
        steps=steps,
    )


def story(delivery: Delivery, attempts: Sequence[Attempt]) -> str:
    """Return how it went in one line: `Refused twice, delivered 09:14`."""
    parts = [part for part in (_failures(attempts), _standing(delivery)) if part]
    words = ", ".join(parts)
    return words[:1].upper() + words[1:]


def _told(body: bytes) -> dict[str, Any]:
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    data = told.get("data") if isinstance(told, dict) else None
    return data if isinstance(data, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _moment(value: Any) -> datetime | None:
    """Return the moment that an event's data names; null: none, or not in full."""
    try:
        found = parse_datetime(_text(value))
    except ValueError:
        return None
    return found if found is not None and timezone.is_aware(found) else None


def _attempted(delivery: Delivery, attempt: Attempt) -> Step:
    words = outcome_words(attempt.status_code, attempt.error)
    answer = f"Delivered: {attempt.status_code}" if not attempt.error else words
    exchange = exchange_of(delivery, attempt)
    # Of a refusal the title says it all, but what is said of one of a batch.
    is_told = attempt.error == "http_error" and attempt.batch_id is None
    return Step(
        "attempt",
        attempt.started_at,
        answer,
        "" if is_told else exchange.detail,
        "bad" if attempt.error else "good",
        attempt=attempt,
        exchange=exchange,
    )


def _deeds(tenant: Tenant, delivery: Delivery) -> list[Step]:
    """Return what people did with it."""
    entries = AuditEntry.objects.filter(tenant=tenant, subject=delivery.public_id)
    return [
        Step(
            "deed",
            entry.at,
            f"{_DEEDS.get(entry.action, entry.action)} by {entry.actor}",
            _text(entry.detail.get("reason")),
        )
        for entry in entries.order_by("-at")[:_MOST_DEEDS]
    ]


def _now(tenant: Tenant, delivery: Delivery) -> list[Step]:
    """Return how it ended, where no attempt says it, or what is to come."""
    if delivery.status == DeliveryStatus.PENDING:
        return [_to_come(tenant, delivery, timezone.now())]
    if delivery.status == DeliveryStatus.DEAD:
        title = f"Given up after {_attempts(delivery.attempt_count)}"
        return [Step("ended", delivery.finished_at, title, tone="bad")]
    if delivery.status == DeliveryStatus.CANCELLED:
        reason = delivery.cancel_reason or "The endpoint was deleted."
        return [Step("ended", delivery.finished_at, "Cancelled", reason)]
    return []


def _to_come(tenant: Tenant, delivery: Delivery, now: datetime) -> Step:
    """Return the next attempt, or why one that is due must wait."""
    endpoint = delivery.endpoint
    if _is_due(delivery, now) and not _is_claimed(delivery, now):
        windows = list(windows_ahead(tenant, endpoint, now))
        for why in reasons_to_wait(endpoint, windows, now):
            title = f"Waits: {why.words}"
            return Step("held", why.until, title, why.advice, tone="warn")
    return Step("ahead", delivery.next_attempt_at, _ahead(delivery, now), tone="warn")


def _is_due(delivery: Delivery, now: datetime) -> bool:
    return delivery.next_attempt_at is not None and delivery.next_attempt_at <= now


def _is_claimed(delivery: Delivery, now: datetime) -> bool:
    return delivery.leased_until is not None and delivery.leased_until > now


def _attempts(count: int) -> str:
    return "one attempt" if count == 1 else f"{count} attempts"


def _ahead(delivery: Delivery, now: datetime) -> str:
    """Return what the message waits for."""
    endpoint = delivery.endpoint
    if endpoint.status == EndpointStatus.PENDING:
        return "Waits for the callback URL's consent"
    if endpoint.status != EndpointStatus.ACTIVE:
        return f"Waits: the endpoint is {endpoint.status}"
    if delivery.next_attempt_at is None:
        return "Waits for the messages about the same device before it"
    if _is_claimed(delivery, now):
        return "Is being sent right now"
    return "Next attempt" if delivery.attempt_count else "First attempt"


def _with_waits(steps: Sequence[Step]) -> list[Step]:
    found = []
    before: datetime | None = None
    for step in steps:
        wait = step.at - before if step.at and before else None
        found.append(replace(step, wait=wait))
        before = step.at or before
    return found


def _failures(attempts: Sequence[Attempt]) -> str:
    failed = [attempt for attempt in attempts if attempt.error]
    if not failed:
        return ""
    answered = [attempt for attempt in failed if attempt.status_code]
    if len(answered) == len(failed):
        word = "refused"
    else:
        word = "failed" if answered else "not reached"
    times = {1: "once", 2: "twice"}.get(len(failed), f"{len(failed)} times")
    return f"{word} {times}"


def _standing(delivery: Delivery) -> str:
    if delivery.status != DeliveryStatus.PENDING:
        word = {"dead": "given up"}.get(delivery.status, delivery.status)
        return f"{word} {_clock(delivery.finished_at)}".strip()
    if delivery.endpoint.status != EndpointStatus.ACTIVE:
        return f"waits, the endpoint is {delivery.endpoint.status}"
    if delivery.next_attempt_at is None:
        return "waits for its turn"
    if _is_due(delivery, timezone.now()):
        return f"due since {_clock(delivery.next_attempt_at)}"
    first = "next attempt" if delivery.attempt_count else "first attempt"
    return f"{first} {_clock(delivery.next_attempt_at)}"


def _clock(moment: datetime | None) -> str:
    """Return the time of day, with the date unless it is today's."""
    if moment is None:
        return ""
    local = timezone.localtime(moment)
    is_today = local.date() == timezone.localdate()
    return f"{local:%H:%M}" if is_today else f"{local:%-d %b %H:%M}"
