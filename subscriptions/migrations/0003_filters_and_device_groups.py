"""What an endpoint hears of an event, and in which shape."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import tenants.identifiers
from tenants.row_security import grant_app, grant_pipeline, wall

WALLS = "".join(
    (
        wall("subscriptions_devicegroup"),
        grant_app("subscriptions_devicegroup"),
        grant_pipeline("subscriptions_devicegroup", "SELECT"),
    )
)

#: The bytes of an endpoint that is sent others than the message's.
BODY = "ALTER TABLE subscriptions_delivery ADD COLUMN body bytea;"


class Migration(migrations.Migration):
    dependencies = [
        ("subscriptions", "0002_fact_tables"),
        ("tenants", "0004_tenant_rate_limit_per_s"),
    ]
    operations = [
        migrations.CreateModel(
            name="DeviceGroup",
            fields=[
                ("id", models.UUIDField(default=tenants.identifiers.new_id, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(db_collation="C", max_length=100)),
                ("devices", django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=255), default=list, size=None)),
                ("updated_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant")),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("tenant", "name"), name="device_group_name_unique")],
            },
        ),
        migrations.RunSQL(WALLS, migrations.RunSQL.noop),
        migrations.AddField("endpoint", "filters", models.JSONField(blank=True, default=dict)),
        migrations.AddField("endpoint", "payload", models.CharField(choices=[("full", "Everything"), ("thin", "Ids alone")], default="full", max_length=8)),
        migrations.AddField("endpoint", "api_version", models.CharField(default="2026-11-01", max_length=16)),
        migrations.RunSQL(BODY, "ALTER TABLE subscriptions_delivery DROP COLUMN body;"),
    ]
