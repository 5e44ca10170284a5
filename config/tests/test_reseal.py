"""Carrying every secret over to a new encryption key."""

import base64
import secrets
from uuid import UUID

import pytest
from django.conf import settings
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from config.management.commands.reseal import reseal_tenant
from ingest.services.sources import create_source
from subscriptions.models import Endpoint, SigningKey
from subscriptions.queries.signing_keys import private_keys
from subscriptions.sealing import USES, Sealer
from subscriptions.services.endpoints import create_endpoint
from subscriptions.services.signing_keys import ensure_key
from tenants.actors import Actor
from tenants.audit_seals import SETTLED, seal_trail, verify_trail
from tenants.database import acting_for
from tenants.models import Tenant
from tenants.vault import is_current


def sealed_columns() -> set[tuple[str, str]]:
    """Return every column that holds what is sealed, as the database has them."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT table_name, column_name FROM information_schema.columns
            WHERE column_name LIKE 'sealed%' AND table_schema = 'public'"""
        )
        return set(cursor.fetchall())


def test_no_sealed_column_is_unknown_to_the_command() -> None:
    assert sealed_columns() == {
        ("ingest_sourcesecret", "sealed"),
        ("subscriptions_endpointsecret", "sealed"),
        ("subscriptions_signingkey", "sealed"),
        *(("subscriptions_endpoint", column) for column in USES),
        ("tenants_auditseal", "sealed"),
        # Gone after a day.
        ("tenants_idempotentreply", "sealed_body"),
    }


@pytest.fixture
def endpoint_id(tenant: Tenant, actor: Actor) -> UUID:
    """Return an endpoint with one of each secret; the trail of it is sealed."""
    with acting_for(tenant):
        create_source(tenant=tenant, actor=actor, name="meters", scheme="hub")
        ensure_key(tenant)
        endpoint, _ = create_endpoint(
            tenant=tenant, actor=actor, url="https://example.com/", event_types=["*"]
        )
        sealer = Sealer(tenant.pk, endpoint.pk)
        Endpoint.objects.filter(pk=endpoint.pk).update(
            sealed_headers=sealer.headers({"X-A": "b"}),
            sealed_certificate=sealer.certificate("cert", "key"),
            sealed_oauth2_secret=sealer.oauth2_secret("s"),
            sealed_oauth2_token=sealer.oauth2_token("t"),
        )
    assert seal_trail(tenant.pk, now=timezone.now() + 2 * SETTLED) > 0
    return endpoint.pk


def test_everything_is_carried_over_once_and_opens_without_the_old_key(
    tenant: Tenant, endpoint_id: UUID
) -> None:
    new = f"next:{base64.b64encode(secrets.token_bytes(32)).decode()}"
    with override_settings(ENCRYPTION_KEYS=f"{new},{settings.ENCRYPTION_KEYS}"):
        assert [reseal_tenant(tenant.pk) for _ in range(2)] == [8, 0]
    with override_settings(ENCRYPTION_KEYS=new), acting_for(tenant):
        endpoint = Endpoint.objects.get(pk=endpoint_id)
        sealer = Sealer(tenant.pk, endpoint_id)
        assert is_current(bytes(endpoint.sealed_headers))
        assert sealer.open_headers(bytes(endpoint.sealed_headers)) == {"X-A": "b"}
        assert sealer.open_oauth2_token(bytes(endpoint.sealed_oauth2_token)) == "t"
        assert is_current(bytes(SigningKey.objects.get(tenant=tenant).sealed))
        with connection.cursor() as cursor:
            assert len(private_keys(cursor, [tenant.pk])[tenant.pk]) == 1
    with override_settings(ENCRYPTION_KEYS=new):
        assert verify_trail(tenant.pk, now=timezone.now()) == []
