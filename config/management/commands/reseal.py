"""`manage.py reseal`: encrypt every stored secret under the key that is first now."""

from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand
from django.db.models import Model

from ingest.models import SourceSecret
from subscriptions.models import Endpoint, EndpointSecret, SigningKey
from subscriptions.queries.signing_keys import key_context
from subscriptions.sealing import USES, secret_context
from tenants.audit_seals import seal_context
from tenants.database import acting_for, pipeline
from tenants.models import AuditSeal
from tenants.vault import is_current, seal, unseal

#: A row, its sealed column, and what the seal is bound to.
Sealed = tuple[Model, str, str]


class Command(BaseCommand):
    """Carry secrets over to a new encryption key, one tenant at a time."""

    help = (
        "Encrypt the secrets of sources and endpoints, the signing keys and the seals "
        "of the audit trail under the first of GRIDHOOK_ENCRYPTION_KEYS. Safe to "
        "repeat and to interrupt."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Reseal everything and say how much that was."""
        with pipeline() as lane:
            rows = lane.execute("SELECT id FROM tenants_tenant ORDER BY id").fetchall()
        count = sum(reseal_tenant(tenant_id) for (tenant_id,) in rows)
        self.stdout.write(f"{count} secrets carried over to the first key.")


def reseal_tenant(tenant_id: int) -> int:
    """Reseal what one tenant has; return how much that was."""
    with acting_for(tenant_id):
        return sum(_reseal(*sealed) for sealed in _all_sealed(tenant_id))


def _all_sealed(tenant_id: int) -> Iterator[Sealed]:
    """Yield whatever the tenant has sealed, its row locked."""
    mine = {"tenant_id": tenant_id}
    for source_secret in SourceSecret.objects.select_for_update().filter(**mine):
        yield source_secret, "sealed", f"source:{tenant_id}:{source_secret.source_id}"
    for secret in EndpointSecret.objects.select_for_update().filter(**mine):
        yield secret, "sealed", secret_context(tenant_id, secret.endpoint_id)
    for key in SigningKey.objects.select_for_update().filter(**mine):
        yield key, "sealed", key_context(tenant_id, key.public)
    for one in AuditSeal.objects.select_for_update(of=("self",)).filter(**mine):
        yield one, "sealed", seal_context(tenant_id, one.sequence)
    for endpoint in Endpoint.objects.select_for_update().filter(**mine):
        context = secret_context(tenant_id, endpoint.pk)
        for column, use in USES.items():
            yield endpoint, column, f"{context}:{use}"


def _reseal(row: Model, column: str, context: str) -> int:
    sealed = bytes(getattr(row, column))
    if not sealed or is_current(sealed):
        return 0
    setattr(row, column, seal(unseal(sealed, context=context), context=context))
    row.save(update_fields=[column])
    return 1
