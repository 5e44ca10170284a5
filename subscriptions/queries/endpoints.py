"""Reading endpoints."""

from django.db.models import QuerySet

from subscriptions.models import Endpoint
from tenants.models import Tenant


def endpoints_of(tenant: Tenant) -> QuerySet[Endpoint]:
    """Return the tenant's endpoints, without the deleted ones."""
    return Endpoint.objects.filter(tenant=tenant, deleted_at=None)
