"""Ways in for a subscriber's engineer, to one endpoint alone."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import tenants.identifiers
from tenants.row_security import APP_ROLE, grant_app, grant_pipeline, wall

WALLS = "".join(
    (
        wall("subscriptions_portallink"),
        grant_app("subscriptions_portallink", "SELECT, INSERT, UPDATE"),
        grant_pipeline("subscriptions_portallink", "SELECT, DELETE"),
    )
)

#: A portal link says which tenant it is of, as an API key does (tenants/0002).
IDENTITY = f"""
CREATE POLICY identify ON subscriptions_portallink
    FOR SELECT TO CURRENT_USER USING (true);

CREATE FUNCTION subscriptions_identify_link(wanted_digest bytea, wanted_id uuid)
RETURNS TABLE (
    id uuid, tenant_id bigint, endpoint_id uuid, note varchar, expires_at timestamptz
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT l.id, l.tenant_id, l.endpoint_id, l.note, l.expires_at
    FROM public.subscriptions_portallink l
    WHERE (l.digest = wanted_digest OR l.id = wanted_id)
        AND l.revoked_at IS NULL AND l.expires_at > now()
$$;

REVOKE ALL ON FUNCTION subscriptions_identify_link FROM PUBLIC;
GRANT EXECUTE ON FUNCTION subscriptions_identify_link TO {APP_ROLE};
"""

UNDO_IDENTITY = "DROP FUNCTION subscriptions_identify_link(bytea, uuid);"


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0013_device_lanes")]
    operations = [
        migrations.CreateModel(
            name="PortalLink",
            fields=[
                ("id", models.UUIDField(default=tenants.identifiers.new_id, editable=False, primary_key=True, serialize=False)),
                ("digest", models.BinaryField(max_length=32, unique=True)),
                ("note", models.CharField(blank=True, default="", max_length=200)),
                ("created_by", models.CharField(max_length=255)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("expires_at", models.DateTimeField()),
                ("revoked_at", models.DateTimeField(null=True)),
                ("endpoint", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="subscriptions.endpoint")),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant")),
            ],
        ),
        migrations.RunSQL(WALLS, migrations.RunSQL.noop),
        migrations.RunSQL(IDENTITY, UNDO_IDENTITY),
    ]
