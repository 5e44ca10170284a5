"""Reading endpoints, and what belongs to each."""

from datetime import datetime

from django.db.models import F, Q, QuerySet

from subscriptions.models import (
    ConsentStep,
    DeviceGroup,
    Endpoint,
    EndpointSecret,
    MaintenanceWindow,
    PortalLink,
)
from tenants.models import AuditEntry, Tenant


def endpoints_of(tenant: Tenant) -> QuerySet[Endpoint]:
    """Return the tenant's endpoints, without the deleted ones."""
    return Endpoint.objects.filter(tenant=tenant, deleted_at=None)


def secrets_in_force(
    tenant: Tenant, endpoint: Endpoint, now: datetime
) -> QuerySet[EndpointSecret]:
    """Return the secrets that sign, the newest first."""
    mine = EndpointSecret.objects.filter(tenant=tenant, endpoint=endpoint)
    return mine.filter(Q(expires_at=None) | Q(expires_at__gt=now)).order_by("-pk")


def consent_steps(tenant: Tenant, endpoint: Endpoint) -> QuerySet[ConsentStep]:
    """Return the steps of the endpoint's handshakes, the newest first."""
    mine = ConsentStep.objects.filter(tenant=tenant, endpoint=endpoint)
    return mine.order_by("-at", "-pk")


def windows_ahead(
    tenant: Tenant, endpoint: Endpoint, now: datetime
) -> QuerySet[MaintenanceWindow]:
    """Return the maintenance windows that are not over, the next one first."""
    mine = MaintenanceWindow.objects.filter(tenant=tenant, endpoint=endpoint)
    return mine.filter(end_at__gt=now).order_by("start_at")


def portal_links(
    tenant: Tenant, endpoint: Endpoint, now: datetime
) -> QuerySet[PortalLink]:
    """Return the links that still open the portal, the newest first."""
    mine = PortalLink.objects.filter(tenant=tenant, endpoint=endpoint)
    return mine.filter(revoked_at=None, expires_at__gt=now).order_by("-pk")


def deeds(tenant: Tenant, endpoint: Endpoint) -> QuerySet[AuditEntry]:
    """Return what was done with the endpoint, the newest first, by audit_subject."""
    mine = AuditEntry.objects.filter(tenant=tenant, subject=endpoint.public_id)
    return mine.order_by("-at")


def device_groups_of(tenant: Tenant) -> QuerySet[DeviceGroup]:
    """Return the tenant's device groups."""
    return DeviceGroup.objects.filter(tenant=tenant)


def without_devices(groups: QuerySet[DeviceGroup]) -> QuerySet[DeviceGroup]:
    """
    Return the groups for a list, with `size` in place of their devices.

    A group has up to 100,000 names: the database counts them. `first` has three.
    """
    counted = {"size": F("devices__len"), "first": F("devices__0_3")}
    return groups.defer("devices").annotate(**counted)
