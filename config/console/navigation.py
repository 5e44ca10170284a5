"""The sidebar: what the actor's role may open, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse

from billing.models import Account, Agreement, BillRun, Invoice, Tariff
from ingest.models import Callback, CallbackRejection, Channel, Device, Source
from ingest.queries.rejections import count_open
from subscriptions.models import (
    Delivery,
    DeviceGroup,
    Endpoint,
    Message,
    Redelivery,
    SigningKey,
)
from subscriptions.queries.undelivered import count_dead
from tenants.actors import actor_of
from tenants.models import ApiKey, AuditEntry, Membership

#: Of what waits for a person, every page counts this many at most.
_MOST_COUNTED = 1_000
#: Pages under a list that have an entry of their own.
_APART = ("reports/", "event-types/", "undelivered/")


@dataclass(frozen=True)
class _Entry:
    title: str
    icon: str
    model: type[Any]
    page: str = "changelist"


_GROUPS: tuple[tuple[str, Sequence[_Entry]], ...] = (
    (
        "Ingest",
        (
            _Entry("Sources", "sensors", Source),
            _Entry("Callbacks", "move_to_inbox", Callback),
            _Entry("Rejected", "report", CallbackRejection),
            _Entry("Devices", "speed", Device),
            _Entry("Channels", "show_chart", Channel),
        ),
    ),
    (
        "Subscriptions",
        (
            _Entry("Endpoints", "webhook", Endpoint),
            _Entry("Deliveries", "outbox", Delivery),
            _Entry("Undelivered", "unsubscribe", Delivery, "undelivered"),
            _Entry("Messages", "mail", Message),
            _Entry("Redeliveries", "restart_alt", Redelivery),
            _Entry("Device groups", "category", DeviceGroup),
            _Entry("Signing keys", "verified_user", SigningKey),
            _Entry("Event types", "menu_book", Message, "event_types"),
        ),
    ),
    (
        "Billing",
        (
            _Entry("Accounts", "contacts", Account),
            _Entry("Tariffs", "sell", Tariff),
            _Entry("Agreements", "handshake", Agreement),
            _Entry("Bill runs", "play_circle", BillRun),
            _Entry("Invoices", "receipt_long", Invoice),
            _Entry("Reports", "monitoring", Invoice, "reports"),
        ),
    ),
    (
        "Settings",
        (
            _Entry("People", "group", Membership),
            _Entry("API keys", "key", ApiKey),
            _Entry("Audit trail", "history", AuditEntry),
        ),
    ),
)


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the sidebar's groups for whoever asks."""
    home = {"title": "Dashboard", "icon": "dashboard", "link": reverse("admin:index")}
    groups: list[dict[str, Any]] = [{"items": [home]}]
    for title, entries in _GROUPS:
        items = [_item(request, entry) for entry in entries if _may(request, entry)]
        if items:
            groups.append({"title": title, "items": items})
    return groups


def _may(request: HttpRequest, entry: _Entry) -> bool:
    return admin.site.get_model_admin(entry.model).has_view_permission(request)


def _item(request: HttpRequest, entry: _Entry) -> dict[str, Any]:
    meta = entry.model._meta
    link = reverse(f"admin:{meta.app_label}_{meta.model_name}_{entry.page}")
    item = {
        "title": entry.title,
        "icon": entry.icon,
        "link": link,
        "active": _is_active(request, link, entry),
    }
    if badge := _badge(request, entry):
        item |= {"badge": badge, "badge_variant": "danger"}
    return item


def _badge(request: HttpRequest, entry: _Entry) -> str:
    """Return how many of its things wait for a person; empty: none."""
    tenant = actor_of(request).tenant
    if entry.model is CallbackRejection:
        count = count_open(tenant=tenant, limit=_MOST_COUNTED)
    elif entry.page == "undelivered":
        count = count_dead(tenant, _MOST_COUNTED)
    else:
        return ""
    return f"{count}{'+' if count >= _MOST_COUNTED else ''}" if count else ""


def _is_active(request: HttpRequest, link: str, entry: _Entry) -> bool:
    """Tell whether it is open; reports live under invoices, and are not they."""
    if entry.page == "changelist" and request.path.startswith(
        tuple(link + page for page in _APART)
    ):
        return False
    return request.path.startswith(link)


def tenant_name(request: HttpRequest) -> str:
    """Return the line under the product's name: whose it is, and in which time."""
    actor = getattr(request, "actor", None)
    return f"{actor.tenant.name}, {actor.tenant.timezone}" if actor else ""
