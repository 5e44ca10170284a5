"""Looking callbacks up."""

from uuid import UUID

from ingest.models import Callback, Source
from tenants.models import Tenant


def receipts_of(tenant: Tenant, transaction_id: str) -> list[UUID]:
    """Return the receipts under a transaction id: one for each source at most."""
    # Naming the sources lets callback_transaction_unique serve it.
    sources = Source.objects.filter(tenant=tenant).values("pk")
    found = Callback.objects.filter(
        tenant=tenant, source_id__in=sources, transaction_id=transaction_id
    )
    return list(found.values_list("pk", flat=True))
