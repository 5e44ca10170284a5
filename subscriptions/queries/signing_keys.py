"""Reading a tenant's signing keys."""

from datetime import datetime

from django.db.models import Q, QuerySet

from subscriptions.models import SigningKey
from tenants.models import Tenant


def keys_in_force(tenant: Tenant, now: datetime) -> QuerySet[SigningKey]:
    """Return the keys that sign, the newest first."""
    mine = SigningKey.objects.filter(tenant=tenant)
    return mine.filter(Q(expires_at=None) | Q(expires_at__gt=now)).order_by("-pk")
