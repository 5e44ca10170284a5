"""The two roles below the owner, the walls between tenants, and the audit trail."""

from django.db import migrations

from tenants.row_security import (
    APP_ROLE,
    PIPELINE_ROLE,
    grant_app,
    grant_pipeline,
    use_sequences,
    wall,
)

ROLES = f"""
DO $$
DECLARE wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['{APP_ROLE}', '{PIPELINE_ROLE}'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOBYPASSRLS', wanted);
        END IF;
        EXECUTE format('GRANT %I TO CURRENT_USER', wanted);
    END LOOP;
END $$;
GRANT USAGE ON SCHEMA public TO {APP_ROLE}, {PIPELINE_ROLE};
"""

WALLS = "".join(
    (
        wall("tenants_tenant", tenant_column="id"),
        grant_app("tenants_tenant", "SELECT, INSERT, UPDATE"),
        grant_pipeline("tenants_tenant", "SELECT"),
        wall("tenants_membership"),
        grant_app("tenants_membership", "SELECT, INSERT, UPDATE"),
        wall("tenants_apikey"),
        grant_app("tenants_apikey", "SELECT, INSERT, UPDATE"),
        wall("tenants_auditentry"),
        grant_app("tenants_auditentry", "SELECT, INSERT"),
        grant_pipeline("tenants_auditentry", "INSERT"),
        wall("tenants_idempotentreply"),
        grant_app("tenants_idempotentreply"),
        # Old replies are deleted in every tenant, and read in none.
        grant_pipeline("tenants_idempotentreply", "SELECT (created_at), DELETE"),
        grant_app("tenants_user", "SELECT, INSERT, UPDATE"),
        grant_app("tenants_user_groups, tenants_user_user_permissions"),
        use_sequences(
            [
                "tenants_tenant",
                "tenants_membership",
                "tenants_apikey",
                "tenants_idempotentreply",
                "tenants_user",
                "tenants_user_groups",
                "tenants_user_user_permissions",
            ]
        ),
    )
)

#: Before the tenant is known, two questions may be asked, and no others. The owner,
#: whose functions ask them, is walled too (FORCE): it may read these two tables.
IDENTITY = f"""
CREATE POLICY identify ON tenants_apikey FOR SELECT TO CURRENT_USER USING (true);
CREATE POLICY identify ON tenants_membership FOR SELECT TO CURRENT_USER USING (true);

CREATE FUNCTION tenants_identify_key(wanted bytea)
RETURNS TABLE (tenant_id bigint, role varchar, name varchar)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT k.tenant_id, k.role, k.name FROM public.tenants_apikey k
    WHERE k.digest = wanted AND k.revoked_at IS NULL
$$;

CREATE FUNCTION tenants_identify_user(wanted bigint)
RETURNS TABLE (tenant_id bigint, role varchar)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT m.tenant_id, m.role FROM public.tenants_membership m
    WHERE m.user_id = wanted
$$;

REVOKE ALL ON FUNCTION tenants_identify_key, tenants_identify_user FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenants_identify_key, tenants_identify_user TO {APP_ROLE};
"""

AUDIT = """
CREATE FUNCTION tenants_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is never changed or deleted', TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON tenants_auditentry
    FOR EACH ROW EXECUTE FUNCTION tenants_refuse_change();
CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON tenants_auditentry
    FOR EACH STATEMENT EXECUTE FUNCTION tenants_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("tenants", "0001_initial")]
    operations = [
        migrations.RunSQL(ROLES, migrations.RunSQL.noop),
        migrations.RunSQL(WALLS, migrations.RunSQL.noop),
        migrations.RunSQL(
            IDENTITY,
            "DROP FUNCTION tenants_identify_key(bytea), tenants_identify_user(bigint);",
        ),
        migrations.RunSQL(AUDIT, "DROP FUNCTION tenants_refuse_change() CASCADE;"),
    ]
