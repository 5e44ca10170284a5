"""The first page: what the tenant's callbacks and messages are doing now."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.timesince import timesince

from config.console.activity import COUNT_LIMIT, Activity, activity
from ingest.models import Callback, CallbackRejection, Source
from ingest.queries import source_url
from ingest.queries.rejections import EVERYTHING, count_open, rejections
from ingest.queries.watches import count_silent
from subscriptions.models import Delivery, DeliveryStatus, Endpoint
from subscriptions.queries.outcome_words import outcome_words
from subscriptions.queries.undelivered import undelivered
from tenants.actors import actor_of
from tenants.models import Tenant

_RECENT = 6
_SECONDS_MATTER_S = 120


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Return what the dashboard's template shows."""
    tenant = actor_of(request).tenant
    now = timezone.now()
    seen = activity(tenant=tenant, now=now)
    source = Source.objects.filter(tenant=tenant).order_by("-id").first()
    return {
        **context,
        "tenant": tenant,
        "seen": seen,
        "tiles": [*_tiles(seen, now), *_silence(tenant)],
        "last_age": age(seen.last_received_at, now),
        "series": _series(seen, tenant),
        "failures": _failures(tenant),
        "dead": bounded(seen.dead),
        "stuck": [one for one in undelivered(tenant, now).held if one.needs_action],
        "rejections": _rejections(tenant),
        "rejected": bounded(count_open(tenant=tenant, limit=COUNT_LIMIT)),
        "source": source,
        "source_url": source_url(source) if source else "",
        "has_endpoints": Endpoint.objects.filter(
            tenant=tenant, deleted_at=None
        ).exists(),
        "has_callbacks": Callback.objects.filter(tenant=tenant).exists(),
        "may_configure": _may_add(request, Source),
        "may_see_messages": _may_view(request, Delivery),
    }


def _may_add(request: HttpRequest, model: type[Any]) -> bool:
    return admin.site.get_model_admin(model).has_add_permission(request)


def _may_view(request: HttpRequest, model: type[Any]) -> bool:
    return admin.site.get_model_admin(model).has_view_permission(request)


def _tiles(seen: Activity, now: datetime) -> list[dict[str, Any]]:
    return [
        {
            "label": "Accepted",
            "value": f"{seen.total('accepted'):,}",
            "note": "last hour",
        },
        {
            "label": "Processed",
            "value": f"{seen.total('processed'):,}",
            "note": "of these",
        },
        {
            "label": "Waiting",
            "value": bounded(seen.waiting),
            "note": _waiting_note(age(seen.oldest_waiting_at, now)),
        },
        {
            "label": "Delivered",
            "value": f"{seen.total('delivered'):,}",
            "note": f"of {seen.total('messages'):,} messages of the last hour",
        },
        {
            "label": "Failing",
            "value": bounded(seen.failing),
            "note": f"{bounded(seen.retrying)} retrying, {bounded(seen.dead)} given up",
            "tone": "bad" if seen.failing else "",
        },
    ]


def _silence(tenant: Tenant) -> list[dict[str, Any]]:
    """Return the tile of silent channels, where any is watched."""
    silent = count_silent(tenant=tenant)
    if silent is None:
        return []
    return [
        {
            "label": "Silent",
            "value": bounded(silent),
            "note": "watched channels",
            "tone": "bad" if silent else "",
        }
    ]


def _waiting_note(oldest: str) -> str:
    return f"for a worker, the oldest for {oldest}" if oldest else "for a worker"


def age(moment: datetime | None, now: datetime) -> str:
    """Return how long ago it was, in seconds while these matter; empty: never."""
    if moment is None:
        return ""
    passed_s = max(0, int((now - moment).total_seconds()))
    return f"{passed_s} s" if passed_s < _SECONDS_MATTER_S else timesince(moment, now)


def bounded(count: int) -> str:
    """Return a count as text, "more than" when it reached the bound of counting."""
    return f"{count:,}+" if count >= COUNT_LIMIT else f"{count:,}"


def _series(seen: Activity, tenant: Tenant) -> dict[str, Any]:
    return {
        "type": "line",
        "precision": 0,
        "labels": [f"{m.at.astimezone(tenant.zone):%H:%M}" for m in seen.minutes],
        "datasets": [
            {
                "label": name.capitalize(),
                "colour": f"--gh-{name}",
                "data": [getattr(minute, name) for minute in seen.minutes],
            }
            for name in ("accepted", "processed", "delivered")
        ],
    }


def _failures(tenant: Tenant) -> list[dict[str, Any]]:
    """Return the newest that were given up and can be dealt with, and why."""
    dead = (
        Delivery.objects.filter(
            tenant=tenant, status=DeliveryStatus.DEAD, endpoint__deleted_at=None
        )
        .select_related("endpoint")
        .order_by("-finished_at")[:_RECENT]
    )
    return [
        {"delivery": it, "outcome": outcome_words(it.last_status_code, it.last_error)}
        for it in dead
    ]


def _rejections(tenant: Tenant) -> list[CallbackRejection]:
    rows = rejections(tenant=tenant, choice=EVERYTHING)
    return list(rows.order_by("-callback_id")[:_RECENT])
