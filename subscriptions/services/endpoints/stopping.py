"""Pausing and resuming endpoints; asking for, and taking back, their consent."""

from django.db import transaction
from django.db.models.functions import Now

from subscriptions.models import Endpoint, EndpointStatus
from subscriptions.services.endpoints.rows import (
    EndpointStopped,
    ask_soon,
    follow_proposed_url,
    forget_consent,
    forget_failures,
    is_running,
    locked,
    note_step,
    save,
    save_health,
)
from tenants.actors import Actor
from tenants.doorbell import ring_after_commit
from tenants.models import Tenant
from tenants.services import record_audit


@transaction.atomic
def request_verification(
    *, tenant: Tenant, actor: Actor, endpoint: Endpoint
) -> Endpoint:
    """
    Ask the receiver for consent, at once and from the beginning.

    An active endpoint stays active meanwhile; its lease begins anew with a yes, and a
    refusal withdraws it.
    Raises: EndpointStopped, EndpointUnknown.
    """
    current = locked(tenant, endpoint)
    if not is_running(current):
        raise EndpointStopped(f"The endpoint is {current.status}: resume it first.")
    ask_soon(current)
    save(current)
    record_audit(
        actor=actor, action="endpoint.consent_asked", subject=current.public_id
    )
    return current


@transaction.atomic
def withdraw_consent(*, tenant: Tenant, actor: Actor, endpoint: Endpoint) -> Endpoint:
    """
    Take the consent back, as the receiver wishes; messages wait until it is asked anew.

    Raises: EndpointUnknown.
    """
    current = locked(tenant, endpoint)
    detail = f"The consent was withdrawn by {actor.name}."
    note_step(current, "withdrawn", detail)
    forget_consent(current)
    current.proposed_url = ""
    if is_running(current):
        current.status_detail = detail
    save(current)
    record_audit(
        actor=actor, action="endpoint.consent_withdrawn", subject=current.public_id
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
    save(current)
    record_audit(actor=actor, action="endpoint.paused", subject=current.public_id)
    return current


@transaction.atomic
def resume_endpoint(*, tenant: Tenant, actor: Actor, endpoint: Endpoint) -> Endpoint:
    """
    Let messages flow again; what waited is worked off at a bounded rate.

    One whose consent is missing, or ran out meanwhile, is asked first: at its proposed
    URL, if it has one.
    Raises: EndpointUnknown.
    """
    current = locked(tenant, endpoint)
    current.status_detail = ""
    forget_failures(current)
    if _is_lapsed(current):
        note_step(current, "lapsed", "The lease ended while the endpoint was stopped.")
        follow_proposed_url(current)
        forget_consent(current)
    if current.consented_at is None:
        current.status = EndpointStatus.PENDING
        ask_soon(current)
    else:
        if not is_running(current):
            current.draining_since = Now()
        current.status = EndpointStatus.ACTIVE
        ring_after_commit("subscriptions.deliver")
    save_health(current)
    record_audit(actor=actor, action="endpoint.resumed", subject=current.public_id)
    return current


def _is_lapsed(endpoint: Endpoint) -> bool:
    mine = Endpoint.objects.filter(tenant_id=endpoint.tenant_id, pk=endpoint.pk)
    return mine.filter(consent_expires_at__lte=Now()).exists()
