"""SQL that walls a table by tenant, for use in migrations."""

from collections.abc import Sequence

APP_ROLE = "gridhook_app"
PIPELINE_ROLE = "gridhook_pipeline"
CURRENT_TENANT = "nullif(current_setting('app.tenant', true), '')::bigint"

#: Tables with a tenant whose wall is not there, or not in force for their owner too. A
#: partition has its parent's policy.
UNWALLED = """
SELECT c.oid::regclass::text FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p')
    AND a.attname = CASE c.relname WHEN 'tenants_tenant' THEN 'id' ELSE 'tenant_id' END
    AND NOT (c.relrowsecurity AND c.relforcerowsecurity
        AND (c.relispartition AND c.relname ~ '_[0-9]+$' OR EXISTS (
            SELECT FROM pg_policy p
            WHERE p.polrelid = c.oid AND p.polname = 'tenant_wall')))
"""


def wall(table: str, *, tenant_column: str = "tenant_id") -> str:
    """Return the SQL that shows the application only the current tenant's rows."""
    mine = f"{tenant_column} = {CURRENT_TENANT}"
    return f"""
        ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
        ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
        CREATE POLICY tenant_wall ON {table} TO {APP_ROLE}
            USING ({mine}) WITH CHECK ({mine});
    """


def grant_app(table: str, verbs: str = "SELECT, INSERT, UPDATE, DELETE") -> str:
    """Return the SQL that gives the application these verbs on the table."""
    return f"GRANT {verbs} ON {table} TO {APP_ROLE};"


def grant_pipeline(table: str, verbs: str) -> str:
    """Return the SQL that gives the pipeline these verbs, in every tenant."""
    return f"""
        GRANT {verbs} ON {table} TO {PIPELINE_ROLE};
        CREATE POLICY pipeline ON {table} TO {PIPELINE_ROLE}
            USING (true) WITH CHECK (true);
    """


def use_sequences(tables: Sequence[str]) -> str:
    """Return the SQL that lets both roles draw ids for these tables."""
    return "".join(
        f"GRANT USAGE ON SEQUENCE {table}_id_seq TO {APP_ROLE}, {PIPELINE_ROLE};"
        for table in tables
    )
