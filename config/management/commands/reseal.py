"""`manage.py reseal`: encrypt every stored secret under the key that is first now."""

from typing import Any

from django.core.management.base import BaseCommand

from ingest.models import SourceSecret
from subscriptions.models import EndpointSecret
from tenants.database import acting_for, pipeline
from tenants.vault import is_current, seal, unseal


class Command(BaseCommand):
    """Carry secrets over to a new encryption key, one tenant at a time."""

    help = (
        "Encrypt the secrets of sources and endpoints under the first of "
        "GRIDHOOK_ENCRYPTION_KEYS. Safe to repeat and to interrupt."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Reseal everything and say how much that was."""
        with pipeline() as lane:
            rows = lane.execute("SELECT id FROM tenants_tenant ORDER BY id").fetchall()
        count = sum(_reseal_tenant(tenant_id) for (tenant_id,) in rows)
        self.stdout.write(f"{count} secrets carried over to the first key.")


def _reseal_tenant(tenant_id: int) -> int:
    count = 0
    with acting_for(tenant_id):
        sources = SourceSecret.objects.select_for_update().filter(tenant_id=tenant_id)
        for source_secret in sources:
            context = f"source:{tenant_id}:{source_secret.source_id}"
            count += _reseal(source_secret, context)
        endpoints = EndpointSecret.objects.select_for_update().filter(
            tenant_id=tenant_id
        )
        for endpoint_secret in endpoints:
            context = f"endpoint:{tenant_id}:{endpoint_secret.endpoint_id}"
            count += _reseal(endpoint_secret, context)
    return count


def _reseal(row: SourceSecret | EndpointSecret, context: str) -> int:
    if is_current(bytes(row.sealed)):
        return 0
    row.sealed = seal(unseal(bytes(row.sealed), context=context), context=context)
    row.save(update_fields=["sealed"])
    return 1
