"""The portal's pages and buttons: each one read, or one service call."""

from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from subscriptions.models import Delivery, DeliveryStatus
from subscriptions.origins import receipts_of
from subscriptions.portal.access import (
    Visit,
    forget_secret,
    home_of,
    is_too_often,
    let_in,
    link_of,
    portal_actor,
    put_secret_by,
    take_secret,
)
from subscriptions.portal.guarding import (
    asks_too_often,
    behind_link,
    guarded_reply,
    has_ended,
)
from subscriptions.portal.shown import (
    delivery_shown,
    long_time,
    of_attempts,
    percent,
    row_shown,
)
from subscriptions.queries.deliveries import LOOK_BACK, messages_meant
from subscriptions.queries.endpoints import secrets_in_force, windows_ahead
from subscriptions.queries.health import health
from subscriptions.queries.hindrances import hindrances
from subscriptions.queries.portal import (
    PAGE_LENGTH,
    Wanted,
    access_by_token,
    deliveries_shown,
)
from subscriptions.services.deliveries import DeliveryUnknown, retry_delivery
from subscriptions.services.endpoints import rotate_secret, send_test
from subscriptions.services.portal import record_opening
from tenants.database import acting_for, console_clock
from tenants.identifiers import IdentifierInvalid, parse_public_id
from tenants.models import Tenant

_STATUSES = (
    ("", "All"),
    (DeliveryStatus.PENDING, "Waiting"),
    (DeliveryStatus.DELIVERED, "Delivered"),
    (DeliveryStatus.DEAD, "Given up"),
    (DeliveryStatus.CANCELLED, "Cancelled"),
)
_OVERLAPS = (
    (3_600, "one hour"),
    (86_400, "one day"),
    (604_800, "seven days"),
    (0, "no longer"),
)


class Filter(forms.Form):
    """Which deliveries to show; what is not understood is left out."""

    status = forms.ChoiceField(choices=_STATUSES, required=False)
    event_type = forms.CharField(max_length=64, required=False)
    #: A message, a device, a transaction id or a receipt.
    about = forms.CharField(max_length=255, required=False)
    before = forms.CharField(max_length=40, required=False)


class Rotation(forms.Form):
    """How long the old secrets sign too."""

    overlap_s = forms.TypedChoiceField(choices=_OVERLAPS, coerce=int)


@require_GET
def enter(request: HttpRequest, token: str) -> HttpResponse:
    """Exchange the token for a cookie, and leave it behind."""
    if is_too_often(request):
        return asks_too_often(request)
    access = access_by_token(token)
    if access is None:
        return _unlinked(has_ended(request))
    with acting_for(access.tenant_id):
        tenant = Tenant.objects.get(pk=access.tenant_id)
        record_opening(
            tenant=tenant,
            actor=portal_actor(tenant, access, request),
            link=link_of(tenant, access.link_id),
        )
    reply = HttpResponseRedirect(home_of(access.link_id))
    let_in(reply, access)
    return _unlinked(reply)


def _unlinked(reply: HttpResponse) -> HttpResponse:
    """Tell nobody the address that had the token in it."""
    reply["Referrer-Policy"] = "no-referrer"
    return guarded_reply(reply)


def ended(request: HttpRequest) -> HttpResponse:
    """Answer an address that has lost its link."""
    return has_ended(request)


@require_GET
@behind_link
def home(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Show how the endpoint stands, and its messages."""
    form = Filter(request.GET)
    form.is_valid()
    wanted = _wanted(visit.tenant, form.cleaned_data)
    found = deliveries_shown(visit.tenant, visit.endpoint, wanted)
    shown, has_more = found[:PAGE_LENGTH], len(found) > PAGE_LENGTH
    secret = take_secret(request, visit)
    context = {
        **_standing(visit),
        "rows": [row_shown(visit, delivery) for delivery in shown],
        "older": _older(request, shown[-1]) if has_more else "",
        "statuses": _STATUSES,
        "overlaps": _OVERLAPS,
        "filter": form.cleaned_data,
        "is_filtered": wanted != Wanted(),
        "secret": secret,
    }
    reply = render(request, "portal/endpoint.html", context)
    if secret is not None:
        forget_secret(reply, visit)
    return reply


def _standing(visit: Visit) -> dict[str, Any]:
    tenant, endpoint = visit.tenant, visit.endpoint
    now = timezone.now()
    stands = health(tenant, endpoint)
    keys = f"{settings.CONSOLE_URL}/.well-known/gridhook/{tenant.slug}/keys.json"
    return {
        "visit": visit,
        "endpoint": endpoint,
        "health": stands,
        "success": percent(stands.success_rate),
        "of_attempts": of_attempts(stands),
        "hindrances": hindrances(
            endpoint,
            list(windows_ahead(tenant, endpoint, now)),
            now,
            is_waiting=stands.waiting > 0,
        ),
        "secrets": secrets_in_force(tenant, endpoint, now),
        "keys_url": keys if "v1a" in endpoint.extra_signatures else "",
        "patience": long_time(sum(settings.RETRY_SCHEDULE_S)),
    }


def _wanted(tenant: Tenant, data: dict[str, Any]) -> Wanted:
    about = data.get("about", "")
    meant = None
    if about:
        receipts = receipts_of(tenant, about)
        meant = frozenset(messages_meant(tenant, about, receipts, LOOK_BACK))
    return Wanted(
        status=data.get("status", ""),
        event_type=data.get("event_type", ""),
        message_ids=meant,
        before=_message_id(data.get("before", "")),
    )


def _message_id(text: str) -> UUID | None:
    try:
        return parse_public_id("msg", text.strip())
    except IdentifierInvalid:
        return None


def _older(request: HttpRequest, last: Delivery) -> str:
    """Return the query of the next page."""
    query = request.GET.copy()
    query["before"] = f"msg_{last.message_id.hex}"
    return query.urlencode()


@require_POST
@behind_link
def test(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Send a test, and show what becomes of it."""
    sent = send_test(
        tenant=visit.tenant,
        actor=visit.actor,
        endpoint=visit.endpoint,
        now=timezone.now(),
    )
    return HttpResponseRedirect(f"{visit.home}deliveries/{sent.public_id}/")


@require_POST
@behind_link
def rotate(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Make a new secret; the next page shows it, once."""
    form = Rotation(request.POST)
    if not form.is_valid():
        messages.error(request, "Choose how long the old secret signs too.")
        return HttpResponseRedirect(visit.home)
    secret = rotate_secret(
        tenant=visit.tenant,
        actor=visit.actor,
        endpoint=visit.endpoint,
        now=console_clock(),
        overlap_s=form.cleaned_data["overlap_s"],
    )
    reply = HttpResponseRedirect(visit.home)
    put_secret_by(reply, visit, secret)
    return reply


@require_GET
@behind_link
def delivery_page(request: HttpRequest, visit: Visit, delivery: str) -> HttpResponse:
    """Show one delivery with its attempts."""
    found = _delivery(visit, delivery)
    context = {"visit": visit, **delivery_shown(visit, found)}
    return render(request, "portal/delivery.html", context)


@require_POST
@behind_link
def retry(request: HttpRequest, visit: Visit, delivery: str) -> HttpResponse:
    """Send a message again now."""
    found = _delivery(visit, delivery)
    retry_delivery(
        tenant=visit.tenant, actor=visit.actor, delivery=found, now=console_clock()
    )
    return HttpResponseRedirect(f"{visit.home}deliveries/{found.public_id}/")


def _delivery(visit: Visit, public: str) -> Delivery:
    mine = Delivery.objects.filter(tenant=visit.tenant, endpoint=visit.endpoint)
    found = (
        mine.select_related("message", "endpoint")
        .filter(pk=parse_public_id("dlv", public))
        .first()
    )
    if found is None:
        raise DeliveryUnknown("There is no such delivery to this endpoint.")
    return found
