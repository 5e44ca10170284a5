"""What the page of one callback URL shows."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from subscriptions.admin.rows import delivery_row, passed
from subscriptions.models import (
    Breaker,
    Delivery,
    DeliveryStatus,
    Endpoint,
    Redelivery,
    RedeliveryStatus,
)
from subscriptions.queries.endpoints import (
    consent_steps,
    deeds,
    portal_links,
    secrets_in_force,
    windows_ahead,
)
from subscriptions.queries.health import (
    COUNT_LIMIT,
    SAMPLE,
    SLICE_SAMPLE,
    Health,
    Slice,
    attempts_over_time,
    health,
)
from subscriptions.queries.hindrances import hindrances
from subscriptions.queries.manifests import manifests_of
from subscriptions.queries.redeliveries import caught_up_at, redeliveries_of
from tenants.actors import actor_of
from tenants.console.charts import bars, lines
from tenants.models import AuditEntry, Tenant

_LOG_LENGTH = 15
#: Of how many of the newest deliveries some of one status are looked for.
_LOOKED_AT = 10_000
_STEPS_SHOWN = 6
_VALUES_SHOWN = 10
_REDELIVERIES_SHOWN = 5
_MANIFESTS_SHOWN = 7
_DEEDS_SHOWN = 8
#: Times that a picture is labelled with.
_TICKS = 6
_GOOD_RATE, _FAIR_RATE = 0.99, 0.9
#: Redeliveries older than this are of no interest to who looks at the endpoint.
_RECENT = timedelta(days=7)


def endpoint_page(request: HttpRequest, endpoint: Endpoint) -> dict[str, Any]:
    """Return the endpoint's health, its surroundings and its log."""
    tenant = actor_of(request).tenant
    now = timezone.now()
    seen = health(tenant, endpoint)
    windows = list(windows_ahead(tenant, endpoint, now))
    steps = consent_steps(tenant, endpoint)[:_STEPS_SHOWN]
    over_time = attempts_over_time(tenant, endpoint, now)
    return {
        "now": now,
        "tiles": tiles(endpoint, seen, now),
        "hindrances": hindrances(endpoint, windows, now, is_waiting=seen.waiting > 0),
        "health": seen,
        "last_error_ago": _ago(seen.last_error_at, now),
        "last_success_ago": _ago(seen.last_success_at, now),
        "attempts_chart": attempts_chart(over_time),
        "latency_chart": latency_chart(over_time),
        "consent_steps": [consent_row(step) for step in steps],
        "deeds": [deed_row(entry) for entry in deeds(tenant, endpoint)[:_DEEDS_SHOWN]],
        "windows": windows,
        "secrets": secrets_in_force(tenant, endpoint, now),
        "portal_links": portal_links(tenant, endpoint, now),
        "manifests": manifests_of(tenant, endpoint)[:_MANIFESTS_SHOWN],
        "filters": [_filter(*item) for item in endpoint.filters.items()],
        "redeliveries": [
            redelivery_row(one, now) for one in _latest(tenant, endpoint, now)
        ],
        **_log(request, endpoint),
    }


def tiles(endpoint: Endpoint, seen: Health, now: datetime) -> list[dict[str, Any]]:
    """Return the endpoint's numbers, to be read at a glance."""
    return [
        {
            "label": "Success",
            "value": percent(seen.success_rate),
            "note": _of_attempts(seen),
            "tone": _rate_tone(seen.success_rate),
        },
        {
            "label": "Latency p95",
            "value": _milliseconds(seen.p95_ms),
            "note": f"p50 {_milliseconds(seen.p50_ms)}",
        },
        {
            "label": "Waiting",
            "value": bounded(seen.waiting),
            "note": _oldest_waiting(seen, now),
        },
        {
            "label": "Given up",
            "value": bounded(seen.dead),
            "note": "to be acted on" if seen.dead else "nothing",
            "tone": "bad" if seen.dead else "",
        },
        _breaker_tile(endpoint, now),
        _consent_tile(endpoint),
    ]


def _breaker_tile(endpoint: Endpoint, now: datetime) -> dict[str, Any]:
    tile = {"label": "Breaker", "value": Breaker(endpoint.breaker).label}
    if endpoint.breaker == Breaker.CLOSED:
        return {**tile, "note": "not tripped"}
    if endpoint.hold_until and endpoint.hold_until > now:
        probe_at = timezone.localtime(endpoint.hold_until)
        return {**tile, "note": f"next probe at {probe_at:%H:%M:%S}", "tone": "bad"}
    return {**tile, "note": "a probe is on its way", "tone": "warn"}


def _consent_tile(endpoint: Endpoint) -> dict[str, Any]:
    """Return the consent, and until when the lease holds it."""
    tile = {"label": "Consent", "tone": "warn"}
    if endpoint.consented_at is None:
        if endpoint.consent_due_at is None:
            return {**tile, "value": "None", "note": "nobody asks for it"}
        return {**tile, "value": "Asked", "note": "messages wait for it"}
    note = "without an end"
    if endpoint.consent_expires_at is not None:
        note = f"until {timezone.localtime(endpoint.consent_expires_at):%-d %b %H:%M}"
    if endpoint.consent_step and not endpoint.proposed_url:
        return {**tile, "value": "Granted", "note": f"{note}, not renewed yet"}
    return {"label": "Consent", "value": "Granted", "note": note}


def _ago(moment: datetime | None, now: datetime) -> str:
    """Return how long ago it was; empty: never, as far as is known."""
    return f"{passed(moment, now)} ago" if moment else ""


def _of_attempts(seen: Health) -> str:
    if not seen.attempts:
        return "no attempt yet"
    if seen.attempts >= SAMPLE:
        return f"of the latest {seen.attempts:,}"
    return f"of {seen.attempts:,} attempt{'s' * (seen.attempts > 1)}"


def _rate_tone(rate: float | None) -> str:
    if rate is None or rate >= _GOOD_RATE:
        return ""
    return "warn" if rate >= _FAIR_RATE else "bad"


def percent(rate: float | None) -> str:
    """Return a share in percent; never 100 % of what is not all."""
    if rate is None:
        return "–"  # noqa: RUF001 (an empty cell)
    return f"{int(rate * 1000) / 10:g} %"


def _milliseconds(value: int | None) -> str:
    return "–" if value is None else f"{value:,} ms"  # noqa: RUF001 (an empty cell)


def _oldest_waiting(seen: Health, now: datetime) -> str:
    if seen.oldest_waiting is None:
        return "nothing"
    at_least = "at least " if seen.may_wait_longer else ""
    return f"the oldest for {at_least}{passed(seen.oldest_waiting, now)}"


def bounded(count: int) -> str:
    """Return a count as text, "more than" when it reached the bound of counting."""
    return f"{count:,}{'+' if count >= COUNT_LIMIT else ''}"


def attempts_chart(found: list[Slice]) -> dict[str, Any] | None:
    """
    Return the picture of how attempts went; None: there are none.

    In numbers; where a stretch had more than are looked at, in shares.
    """
    if not found:
        return None
    is_counted = all(one.attempts < SLICE_SAMPLE for one in found)
    series: dict[str, list[float]] = {"succeeded": [], "failed": []}
    for one in found:
        scale = 1 if is_counted else 100 / max(one.attempts, 1)
        series["succeeded"].append(one.succeeded * scale)
        series["failed"].append((one.attempts - one.succeeded) * scale)
    chart = bars(_stretches(found), series, "attempts" if is_counted else "%")
    most = {} if is_counted else {"max": 100}
    return {**chart, **most, "precision": 0, "ticks": _TICKS}


def latency_chart(found: list[Slice]) -> dict[str, Any] | None:
    """Return the picture of how long answers took; None: none came."""
    if all(one.p50_ms is None for one in found):
        return None
    series: dict[str, list[float | None]] = {
        "p50": [one.p50_ms for one in found],
        "p95": [one.p95_ms for one in found],
    }
    return {**lines(_stretches(found), series, "ms"), "ticks": _TICKS}


def _stretches(found: list[Slice]) -> list[str]:
    """Return the beginnings of the stretches, as exactly as tells them apart."""
    local = [timezone.localtime(one.start_at) for one in found]
    span = local[-1] - local[0]
    form = "%H:%M:%S" if span < timedelta(minutes=10) else "%H:%M"
    form = "%-d %b %H:%M" if span > timedelta(days=1) else form
    return [f"{moment:{form}}" for moment in local]


def _filter(dimension: str, values: Sequence[str]) -> tuple[str, str]:
    """Return a filter in words: its first values, and how many more there are."""
    words = ", ".join(values[:_VALUES_SHOWN])
    more = len(values) - _VALUES_SHOWN
    words = f"{words} and {more:,} more" if more > 0 else words
    return dimension.replace("_", " "), words


def consent_row(step: Any) -> dict[str, Any]:
    """Return what the page shows of a step of the handshake."""
    word, tone = {
        "options": ("Asked by OPTIONS", "quiet"),
        "challenge": ("Asked by a challenge", "quiet"),
        "granted": ("Consented", "good"),
        "refused": ("Refused", "bad"),
        "withdrawn": ("Withdrawn", "bad"),
        "lapsed": ("Lapsed", "bad"),
    }.get(step.step, (step.step.capitalize(), "quiet"))
    return {"step": step, "word": word, "tone": tone}


def deed_row(entry: AuditEntry) -> dict[str, Any]:
    """Return what the page shows of an entry of the audit trail."""
    words = entry.action.removeprefix("endpoint.").replace(".", " ").replace("_", " ")
    return {
        "entry": entry,
        "words": words.capitalize(),
        "href": reverse("admin:tenants_auditentry_change", args=[entry.pk]),
    }


def _latest(tenant: Tenant, endpoint: Endpoint, now: datetime) -> list[Redelivery]:
    recent = redeliveries_of(tenant).filter(
        endpoint=endpoint, created_at__gt=now - _RECENT
    )
    return list(recent.order_by("-created_at")[:_REDELIVERIES_SHOWN])


def redelivery_row(redelivery: Redelivery, now: datetime) -> dict[str, Any]:
    """Return how far a redelivery has come, and when it will have caught up."""
    total = max(redelivery.total, redelivery.done, 1)
    ready_at = caught_up_at(redelivery, now)
    is_completed = redelivery.status == RedeliveryStatus.COMPLETED
    return {
        "redelivery": redelivery,
        "percent": 100 if is_completed else 100 * redelivery.done // total,
        "is_running": ready_at is not None,
        "ready_at": ready_at,
    }


def _log(request: HttpRequest, endpoint: Endpoint) -> dict[str, Any]:
    """Return the newest deliveries, of the status that the address asks for."""
    asked = request.GET.get("status", "")
    status = asked if asked in DeliveryStatus.values else ""
    mine = Delivery.objects.filter(tenant=endpoint.tenant_id, endpoint=endpoint)
    rows = mine.select_related("endpoint")
    return {
        "log_status": status,
        "log_statuses": [("", "All"), *DeliveryStatus.choices],
        "deliveries": [delivery_row(one) for one in _newest(rows, status)],
    }


def _newest(rows: QuerySet[Delivery], status: str) -> QuerySet[Delivery]:
    """Return the newest of a status; each is a range of an index, or of a bound."""
    if status == DeliveryStatus.DEAD:
        found = rows.filter(status=status).order_by("-finished_at")
    elif status == DeliveryStatus.PENDING:
        found = rows.filter(status=status).order_by("lane", "next_attempt_at")
    elif status:
        latest = rows.order_by("-message_id").values("pk")[:_LOOKED_AT]
        found = rows.filter(pk__in=latest, status=status).order_by("-message_id")
    else:
        found = rows.order_by("-message_id")
    return found[:_LOG_LENGTH]
