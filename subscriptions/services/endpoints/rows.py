"""An endpoint's row as the services change it: locked, with its consent in order."""

from datetime import timedelta

from django.db.models.functions import Now

from subscriptions.consent import lease_s
from subscriptions.consent_rules import RENEWED_AT
from subscriptions.models import ConsentStep, Endpoint, EndpointStatus, PortalLink
from tenants.doorbell import ring_after_commit
from tenants.models import Tenant
from tenants.problems import Conflict, NotFound

#: What a consent consists of, and what its absence clears.
_CONSENT = (
    "url",
    "proposed_url",
    "status",
    "status_detail",
    "consented_at",
    "consent_expires_at",
    "consent_due_at",
    "consent_step",
    "allowed_rate_per_min",
)
#: How well it takes what it is sent.
HEALTH = (
    "failing_since",
    "failing_warned",
    "breaker",
    "breaker_trips",
    "hold_until",
    "hold_reason",
)


class EndpointUnknown(NotFound):
    """There is no such endpoint, or it was deleted."""

    code = "endpoint_unknown"


class EndpointStopped(Conflict):
    """The endpoint is paused or disabled."""

    code = "endpoint_stopped"


def locked(tenant: Tenant, endpoint: Endpoint) -> Endpoint:
    """
    Return the endpoint as it is now, locked until the transaction ends.

    Raises: EndpointUnknown.
    """
    found = (
        Endpoint.objects.select_for_update()
        .filter(tenant=tenant, pk=endpoint.pk, deleted_at=None)
        .first()
    )
    if found is None:
        raise EndpointUnknown("There is no such endpoint.")
    return found


def existing(tenant: Tenant, endpoint: Endpoint) -> Endpoint:
    """
    Return the endpoint as it is now, for work that is too long for its lock.

    Raises: EndpointUnknown.
    """
    mine = Endpoint.objects.filter(tenant=tenant, pk=endpoint.pk, deleted_at=None)
    found = mine.first()
    if found is None:
        raise EndpointUnknown("There is no such endpoint.")
    return found


def is_running(endpoint: Endpoint) -> bool:
    """Tell whether nobody stopped it: it is active, or waits for its consent."""
    return endpoint.status in {EndpointStatus.PENDING, EndpointStatus.ACTIVE}


def ask_soon(endpoint: Endpoint) -> None:
    """Have the receiver asked at once, and the schedule begin anew."""
    # Written as the database's now(), so that no clock but its own counts.
    endpoint.consent_due_at = Now()
    endpoint.consent_step = 0
    ring_after_commit("subscriptions.ask_consent")


def ask_at_renewal(endpoint: Endpoint) -> None:
    """Ask no sooner than the lease demands; an answer under way counts for nothing."""
    ends_at = endpoint.consent_expires_at
    before_end = timedelta(seconds=(1 - RENEWED_AT) * lease_s())
    endpoint.consent_due_at = ends_at and ends_at - before_end
    endpoint.consent_step = 0


def forget_consent(endpoint: Endpoint) -> None:
    """Take the consent back; one that runs waits for another."""
    endpoint.consented_at = None
    endpoint.consent_expires_at = None
    endpoint.allowed_rate_per_min = None
    endpoint.consent_due_at = None
    if is_running(endpoint):
        endpoint.status = EndpointStatus.PENDING
        endpoint.status_detail = ""


def follow_proposed_url(endpoint: Endpoint) -> None:
    """Let the URL that was to follow take the place of one that is asked no more."""
    endpoint.url = endpoint.proposed_url or endpoint.url
    endpoint.proposed_url = ""


def end_portal_links(endpoint: Endpoint) -> None:
    """Shut the pages that its links opened to a subscriber's people."""
    PortalLink.objects.filter(
        tenant_id=endpoint.tenant_id, endpoint=endpoint, revoked_at=None
    ).update(revoked_at=Now())


def forget_failures(endpoint: Endpoint) -> None:
    """Give it a clean record of health."""
    healthy = Endpoint()
    for name in HEALTH:
        setattr(endpoint, name, getattr(healthy, name))


def note_step(endpoint: Endpoint, step: str, detail: str) -> None:
    """Write a step of its consent down."""
    ConsentStep.objects.create(
        tenant_id=endpoint.tenant_id,
        endpoint=endpoint,
        url=endpoint.url,
        step=step,
        detail=detail,
    )


def save(endpoint: Endpoint, *fields: str) -> None:
    """Save what a change of these fields, or of its consent, touches; read it again."""
    endpoint.save(update_fields={*fields, *_CONSENT})
    endpoint.refresh_from_db()


def save_health(endpoint: Endpoint) -> None:
    """Save its health too."""
    save(endpoint, *HEALTH, "draining_since")
