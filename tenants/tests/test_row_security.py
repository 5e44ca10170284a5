"""The second wall: what Postgres itself refuses."""

import pytest
from django.db import ProgrammingError, connection, connections, transaction

from tenants.actors import Actor
from tenants.database import acting_for, pipeline
from tenants.models import ApiKey, AuditEntry, Tenant
from tenants.row_security import UNWALLED
from tenants.services import NewTenant, record_audit

TENANT_TABLES = """
    SELECT c.oid::regclass::text FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
    JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'p')
        AND a.attname = CASE c.relname
            WHEN 'tenants_tenant' THEN 'id' ELSE 'tenant_id' END
"""


def test_every_table_with_a_tenant_is_walled_by_force() -> None:
    with connection.cursor() as cursor:
        cursor.execute(TENANT_TABLES)
        assert len(cursor.fetchall()) > 20
        cursor.execute(UNWALLED)
        assert cursor.fetchall() == []


def test_every_wall_holds_for_what_is_read_and_for_what_is_written() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT tablename, cmd, permissive, roles::text[], qual, with_check
            FROM pg_policies WHERE policyname = 'tenant_wall'"""
        )
        walls = cursor.fetchall()
        cursor.execute(
            """SELECT tablename, policyname FROM pg_policies
            WHERE 'gridhook_app' = ANY(roles) OR 'public' = ANY(roles)"""
        )
        assert {name for _, name in cursor.fetchall()} == {"tenant_wall"}
    assert len(walls) > 20
    for table, command, permissive, roles, seen, written in walls:
        assert (command, permissive) == ("ALL", "PERMISSIVE"), table
        assert roles == ["gridhook_app"], table
        assert "current_setting('app.tenant'" in seen, table
        assert seen == written, table


def test_the_application_is_neither_superuser_nor_owner() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT current_user, rolsuper, rolbypassrls,
                (SELECT count(*) FROM pg_class
                 WHERE relowner = r.oid) FROM pg_roles r WHERE rolname = current_user"""
        )
        assert cursor.fetchone() == ("gridhook_app", False, False, 0)


def test_no_function_of_the_owners_finds_what_a_caller_made_temporarily() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT proname, array_to_string(proconfig, ';') FROM pg_proc
            WHERE prosecdef AND pronamespace = 'public'::regnamespace"""
        )
        found = dict(cursor.fetchall())
    assert len(found) >= 2
    for name, options in found.items():
        path = options.split("search_path=")[1].split(";")[0]
        assert path.endswith(", pg_temp"), name


def test_without_a_tenant_no_row_is_seen(tenant: Tenant) -> None:
    assert not Tenant.objects.exists()
    assert not ApiKey.objects.exists()


def test_without_a_filter_another_tenants_rows_stay_hidden(
    tenant: Tenant, stranger: NewTenant
) -> None:
    with acting_for(stranger.tenant):
        assert set(ApiKey.objects.values_list("tenant_id", flat=True)) == {
            stranger.tenant.pk
        }
        assert not ApiKey.objects.filter(tenant=tenant).exists()


def test_a_row_of_another_tenant_cannot_be_written(
    tenant: Tenant, stranger: NewTenant
) -> None:
    with (
        pytest.raises(ProgrammingError, match="row-level security"),
        acting_for(stranger.tenant),
    ):
        AuditEntry.objects.create(tenant=tenant, actor="x", action="y", subject="z")


def test_the_tenant_ends_with_the_transaction(tenant: Tenant) -> None:
    with acting_for(tenant):
        assert Tenant.objects.count() == 1
    assert Tenant.objects.count() == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tenants_auditentry SET actor = 'x'",
        "DELETE FROM tenants_auditentry",
        "TRUNCATE tenants_auditentry",
    ],
)
@pytest.mark.parametrize("alias", ["default", "owner"])
def test_the_audit_trail_is_refused_to_everyone(
    tenant: Tenant, actor: Actor, statement: str, alias: str
) -> None:
    with acting_for(tenant):
        record_audit(actor=actor, action="a.b", subject="c")
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute("SELECT set_config('app.tenant', %s, true)", [str(tenant.pk)])
        with pytest.raises(ProgrammingError), transaction.atomic(using=alias):
            cursor.execute(statement)


def test_the_pipeline_reads_no_keys_and_no_people() -> None:
    with pipeline() as lane:
        rows = lane.execute(
            """SELECT table_name FROM information_schema.role_table_grants
            WHERE grantee = 'gridhook_pipeline'"""
        ).fetchall()
    granted = {name for (name,) in rows}
    assert granted
    assert not granted & {"tenants_user", "tenants_apikey", "tenants_membership"}
    assert not {name for name in granted if name.startswith("billing_")} - {
        "billing_billrun"
    }
