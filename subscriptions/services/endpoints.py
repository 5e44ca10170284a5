"""Registering, stopping and looking after callback URLs."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Least, Now

from subscriptions.addresses import check_url
from subscriptions.catalogue import PATTERNS
from subscriptions.models import (
    Delivery,
    DeliveryStatus,
    Endpoint,
    EndpointSecret,
    EndpointStatus,
)
from subscriptions.services.claims import secret_context
from subscriptions.services.publishing import Event, publish
from tenants.actors import Actor
from tenants.doorbell import ring_after_commit
from tenants.models import Tenant
from tenants.problems import Conflict, NotFound, Problem
from tenants.services import record_audit
from tenants.signing import new_secret
from tenants.vault import seal

#: Endpoints of a tenant.
ENDPOINT_LIMIT = 500
#: Secrets that sign at once.
SECRET_LIMIT = 10
OVERLAP_DEFAULT_S = 86_400
OVERLAP_LIMIT_S = 604_800


class EndpointUnknown(NotFound):
    """There is no such endpoint, or it was deleted."""

    code = "endpoint_unknown"


class EventTypeUnknown(Problem):
    """Not in the catalogue."""

    code = "event_type_unknown"
    title = "The event type is unknown"


class EndpointLimitReached(Conflict):
    """The tenant has as many endpoints as it may."""

    code = "endpoint_limit_reached"


class SecretLimitReached(Conflict):
    """As many secrets sign at once as may."""

    code = "secret_limit_reached"


class OverlapInvalid(Problem):
    """The overlap is negative or longer than a week."""

    code = "overlap_invalid"


class EndpointStopped(Conflict):
    """The endpoint is paused or disabled."""

    code = "endpoint_stopped"


@transaction.atomic
def create_endpoint(
    *,
    tenant: Tenant,
    actor: Actor,
    url: str,
    event_types: Sequence[str],
    description: str = "",
) -> tuple[Endpoint, str]:
    """
    Register a callback URL; return it and its secret, which is shown this once.

    It stays pending, and its messages wait, until the receiver consents.
    Raises: UrlInvalid, EventTypeUnknown, EndpointLimitReached.
    """
    check_url(url, exceptions=settings.CALLBACK_ALLOW_CIDRS)
    _check_event_types(event_types)
    _lock(tenant)
    if endpoint_count(tenant) >= ENDPOINT_LIMIT:
        raise EndpointLimitReached(f"A tenant has at most {ENDPOINT_LIMIT} endpoints.")
    endpoint = Endpoint.objects.create(
        tenant=tenant,
        url=url,
        description=description,
        event_types=sorted(set(event_types)),
    )
    secret = _add_secret(endpoint)
    record_audit(
        actor=actor,
        action="endpoint.created",
        subject=endpoint.public_id,
        detail={"url": url, "event_types": endpoint.event_types},
    )
    ring_after_commit("subscriptions.ask_consent")
    return endpoint, secret


def _lock(tenant: Tenant) -> None:
    """Have others wait who count the tenant's endpoints, and nobody else."""
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)


def endpoint_count(tenant: Tenant) -> int:
    """Return how many endpoints the tenant has."""
    return Endpoint.objects.filter(tenant=tenant, deleted_at=None).count()


def _check_event_types(event_types: Sequence[str]) -> None:
    unknown = sorted(set(event_types) - PATTERNS)
    if unknown:
        raise EventTypeUnknown(
            f"Unknown: {', '.join(unknown)}. GET /api/v1/event-types/ has the list; "
            "`reading.*` and `*` stand for several."
        )
    if not event_types:
        raise EventTypeUnknown("Name at least one event type; `*` is all of them.")


def _add_secret(endpoint: Endpoint) -> str:
    secret = new_secret()
    context = secret_context(endpoint.tenant_id, endpoint.pk)
    EndpointSecret.objects.create(
        tenant_id=endpoint.tenant_id,
        endpoint=endpoint,
        sealed=seal(secret.encode(), context=context),
    )
    return secret


def locked(tenant: Tenant, endpoint: Endpoint) -> Endpoint:
    """Return the endpoint as it is now, locked until the transaction ends."""
    found = (
        Endpoint.objects.select_for_update()
        .filter(tenant=tenant, pk=endpoint.pk, deleted_at=None)
        .first()
    )
    if found is None:
        raise EndpointUnknown("There is no such endpoint.")
    return found


@transaction.atomic
def update_endpoint(
    *,
    tenant: Tenant,
    actor: Actor,
    endpoint: Endpoint,
    url: str | None = None,
    event_types: Sequence[str] | None = None,
    description: str | None = None,
) -> Endpoint:
    """
    Change what is given; another URL must consent again, and messages wait meanwhile.

    An endpoint that is paused or disabled stays so, and is asked when it is resumed.
    Raises: UrlInvalid, EventTypeUnknown, EndpointUnknown.
    """
    current = locked(tenant, endpoint)
    if url is not None and url != current.url:
        check_url(url, exceptions=settings.CALLBACK_ALLOW_CIDRS)
        current.url = url
        _await_consent(current)
    if event_types is not None:
        _check_event_types(event_types)
        current.event_types = sorted(set(event_types))
    if description is not None:
        current.description = description
    _save(current, "url", "event_types", "description")
    record_audit(
        actor=actor,
        action="endpoint.updated",
        subject=current.public_id,
        detail={"url": current.url, "event_types": current.event_types},
    )
    return current


def _await_consent(endpoint: Endpoint) -> None:
    endpoint.consented_at = None
    endpoint.allowed_rate_per_min = None
    if endpoint.status in {EndpointStatus.PENDING, EndpointStatus.ACTIVE}:
        endpoint.status = EndpointStatus.PENDING
        endpoint.status_detail = ""
        _ask_consent(endpoint)
    else:
        endpoint.consent_due_at = None


def _ask_consent(endpoint: Endpoint) -> None:
    # Written as the database's now(), so that no clock but its own counts.
    endpoint.consent_due_at = Now()
    endpoint.consent_step = 0
    ring_after_commit("subscriptions.ask_consent")


def _save(endpoint: Endpoint, *fields: str) -> None:
    endpoint.save(
        update_fields=[
            *fields,
            "status",
            "status_detail",
            "consented_at",
            "consent_due_at",
            "consent_step",
            "allowed_rate_per_min",
        ]
    )
    endpoint.refresh_from_db()


@transaction.atomic
def request_verification(
    *, tenant: Tenant, actor: Actor, endpoint: Endpoint
) -> Endpoint:
    """
    Ask the receiver for consent, at once and from the beginning.

    An active endpoint stays active meanwhile; its granted rate is read again.
    Raises: EndpointStopped, EndpointUnknown.
    """
    current = locked(tenant, endpoint)
    if current.status not in {EndpointStatus.PENDING, EndpointStatus.ACTIVE}:
        raise EndpointStopped(f"The endpoint is {current.status}: resume it first.")
    _ask_consent(current)
    _save(current)
    record_audit(
        actor=actor, action="endpoint.consent_asked", subject=current.public_id
    )
    return current


@transaction.atomic
def pause_endpoint(*, tenant: Tenant, actor: Actor, endpoint: Endpoint) -> Endpoint:
    """
    Stop sending; messages wait.

    Raises: EndpointStopped: the platform disabled it already. EndpointUnknown.
    """
    current = locked(tenant, endpoint)
    if current.status == EndpointStatus.DISABLED:
        raise EndpointStopped("The endpoint is disabled: nothing is sent to it.")
    current.status = EndpointStatus.PAUSED
    current.status_detail = f"Paused by {actor.name}."
    _save(current)
    record_audit(actor=actor, action="endpoint.paused", subject=current.public_id)
    return current


@transaction.atomic
def resume_endpoint(*, tenant: Tenant, actor: Actor, endpoint: Endpoint) -> Endpoint:
    """
    Let messages flow again; an endpoint that never consented is asked first.

    Raises: EndpointUnknown.
    """
    current = locked(tenant, endpoint)
    current.status_detail = ""
    current.failing_since = None
    if current.consented_at is None:
        current.status = EndpointStatus.PENDING
        _ask_consent(current)
    else:
        current.status = EndpointStatus.ACTIVE
        ring_after_commit("subscriptions.deliver")
    _save(current, "failing_since")
    record_audit(actor=actor, action="endpoint.resumed", subject=current.public_id)
    return current


@transaction.atomic
def rotate_secret(
    *,
    tenant: Tenant,
    actor: Actor,
    endpoint: Endpoint,
    now: datetime,
    overlap_s: int = OVERLAP_DEFAULT_S,
) -> str:
    """
    Return a new secret, shown this once; the old ones sign too until the overlap ends.

    Raises: OverlapInvalid, SecretLimitReached, EndpointUnknown.
    """
    if not 0 <= overlap_s <= OVERLAP_LIMIT_S:
        raise OverlapInvalid(f"The overlap is from 0 to {OVERLAP_LIMIT_S} seconds.")
    current = locked(tenant, endpoint)
    secrets = EndpointSecret.objects.filter(tenant=tenant, endpoint=current)
    secrets.filter(expires_at__lte=now).delete()
    secrets.update(expires_at=Least("expires_at", now + timedelta(seconds=overlap_s)))
    if secrets.filter(expires_at__gt=now).count() >= SECRET_LIMIT:
        raise SecretLimitReached(
            f"{SECRET_LIMIT} secrets sign at once already. Rotate with overlap_s 0 to "
            "end the old ones."
        )
    secret = _add_secret(current)
    record_audit(
        actor=actor,
        action="endpoint.secret_rotated",
        subject=current.public_id,
        detail={"overlap_s": overlap_s},
    )
    return secret


@transaction.atomic
def send_test(
    *, tenant: Tenant, actor: Actor, endpoint: Endpoint, now: datetime
) -> Delivery:
    """
    Send `endpoint.test` to this endpoint alone; return its delivery.

    Raises: EndpointUnknown.
    """
    current = locked(tenant, endpoint)
    event = Event(
        tenant_id=tenant.pk,
        tenant_slug=tenant.slug,
        event_type="endpoint.test",
        data={
            "endpoint": current.public_id,
            "note": "A test message. No reply beyond 2xx is needed.",
        },
        occurred_at=now,
        endpoint_id=current.pk,
    )
    with connection.cursor() as cursor:
        publish(cursor, [event])
    record_audit(actor=actor, action="endpoint.tested", subject=current.public_id)
    ring_after_commit("subscriptions.deliver")
    return Delivery.objects.filter(
        tenant=tenant, endpoint=current, event_type="endpoint.test"
    ).latest("id")


@transaction.atomic
def delete_endpoint(
    *, tenant: Tenant, actor: Actor, endpoint: Endpoint, now: datetime
) -> None:
    """
    End the endpoint: its secrets go, what waits is cancelled, its history stays.

    Raises: EndpointUnknown.
    """
    current = locked(tenant, endpoint)
    current.deleted_at = now
    current.consent_due_at = None
    current.save(update_fields=["deleted_at", "consent_due_at"])
    EndpointSecret.objects.filter(tenant=tenant, endpoint=current).delete()
    # In the order in which results are recorded, so that neither waits in a circle.
    waiting = (
        Delivery.objects.select_for_update()
        .filter(tenant=tenant, endpoint=current, status=DeliveryStatus.PENDING)
        .order_by("pk")
    )
    cancelled = Delivery.objects.filter(
        tenant=tenant, pk__in=waiting.values("pk")
    ).update(status=DeliveryStatus.CANCELLED, claim_id=None, finished_at=Now())
    record_audit(
        actor=actor,
        action="endpoint.deleted",
        subject=current.public_id,
        detail={"url": current.url, "cancelled": cancelled},
    )
