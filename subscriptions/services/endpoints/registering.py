"""Registering callback URLs, and changing what is sent to them and how."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings as django_settings
from django.db import transaction

from subscriptions.http.addresses import UrlInvalid, check_url, foresee
from subscriptions.models import Endpoint, EndpointStatus
from subscriptions.services.endpoints.credentials import check_origin, is_elsewhere
from subscriptions.services.endpoints.rows import (
    HEALTH,
    ask_at_renewal,
    ask_soon,
    end_portal_links,
    forget_consent,
    forget_failures,
    locked,
    save,
)
from subscriptions.services.endpoints.secrets import add_secret
from subscriptions.services.endpoints.settings import EndpointSettings, apply
from tenants.actors import Actor
from tenants.doorbell import ring_after_commit
from tenants.models import Tenant
from tenants.problems import Conflict
from tenants.services import record_audit

#: Endpoints of a tenant.
ENDPOINT_LIMIT = 500


class EndpointLimitReached(Conflict):
    """The tenant has as many endpoints as it may."""

    code = "endpoint_limit_reached"


@transaction.atomic
def create_endpoint(
    *,
    tenant: Tenant,
    actor: Actor,
    url: str,
    event_types: Sequence[str],
    description: str = "",
    settings: EndpointSettings | None = None,
) -> tuple[Endpoint, str]:
    """
    Register a callback URL; return it and its secret, which is shown this once.

    It stays pending, and its messages wait, until the receiver consents.
    Raises: UrlInvalid, EndpointLimitReached, and what `settings.apply` raises.
    """
    _check_url(url)
    _foresee(settings or {})
    _lock(tenant)
    if endpoint_count(tenant) >= ENDPOINT_LIMIT:
        raise EndpointLimitReached(f"A tenant has at most {ENDPOINT_LIMIT} endpoints.")
    endpoint = Endpoint(tenant=tenant, url=url)
    wanted = {
        "api_version": None,
        **(settings or {}),
        "event_types": event_types,
        "description": description,
    }
    apply(tenant=tenant, endpoint=endpoint, changes=wanted)
    endpoint.save(force_insert=True)
    secret = add_secret(endpoint)
    endpoint.refresh_from_db()
    record_audit(
        actor=actor,
        action="endpoint.created",
        subject=endpoint.public_id,
        detail=_summary(endpoint, wanted),
    )
    ring_after_commit("subscriptions.ask_consent")
    return endpoint, secret


def _check_url(url: Any) -> None:
    if not isinstance(url, str):
        raise UrlInvalid("A callback URL begins with https://.")
    check_url(url, exceptions=django_settings.CALLBACK_ALLOW_CIDRS)


def _foresee(settings: Mapping[str, Any]) -> None:
    """Look hosts up while no row is locked: what is judged then is known."""
    foresee(settings.get("url"))
    oauth2 = settings.get("oauth2")
    if isinstance(oauth2, Mapping):
        foresee(oauth2.get("token_url"))


def _lock(tenant: Tenant) -> None:
    """Have others wait who count the tenant's endpoints, and nobody else."""
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)


def endpoint_count(tenant: Tenant) -> int:
    """Return how many endpoints the tenant has."""
    return Endpoint.objects.filter(tenant=tenant, deleted_at=None).count()


def _summary(endpoint: Endpoint, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the audit trail keeps: the settings' names, and no value of them."""
    return {
        "url": endpoint.proposed_url or endpoint.url,
        "event_types": endpoint.event_types,
        "changed": sorted(changes),
    }


@transaction.atomic
def update_endpoint(
    *, tenant: Tenant, actor: Actor, endpoint: Endpoint, changes: Mapping[str, Any]
) -> Endpoint:
    """
    Change what is named: what is absent stays, null is the default again.

    Another URL must consent: an active endpoint's old one stays in force until then. A
    paused or disabled endpoint stays so, and is asked when it is resumed. What is
    sealed goes to another origin only if it is given again in the same change, and
    portal links end: who runs that host may be somebody else.
    Raises: UrlInvalid, EndpointUnknown, CredentialsInvalid, and what
    `settings.apply` raises.
    """
    _foresee(changes)
    current = locked(tenant, endpoint)
    wanted = dict(changes)
    if "url" in wanted:
        url = wanted.pop("url")
        _check_url(url)
        check_origin(current, url, wanted)
        if is_elsewhere(current, url):
            end_portal_links(current)
        _change_url(current, url)
    columns = apply(tenant=tenant, endpoint=current, changes=wanted)
    save(current, *columns, *HEALTH)
    record_audit(
        actor=actor,
        action="endpoint.updated",
        subject=current.public_id,
        detail=_summary(current, changes),
    )
    return current


def _change_url(endpoint: Endpoint, url: str) -> None:
    if url == endpoint.url:
        if endpoint.proposed_url:
            endpoint.proposed_url = ""
            endpoint.status_detail = ""
            ask_at_renewal(endpoint)
        return
    if endpoint.status == EndpointStatus.ACTIVE:
        if url != endpoint.proposed_url:
            endpoint.proposed_url = url
            ask_soon(endpoint)
        return
    endpoint.url = url
    endpoint.proposed_url = ""
    forget_consent(endpoint)
    forget_failures(endpoint)
    if endpoint.status == EndpointStatus.PENDING:
        ask_soon(endpoint)
