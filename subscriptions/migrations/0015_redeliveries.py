"""Sending many messages again, and giving one up for good with a reason."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import tenants.identifiers
from tenants.row_security import grant_app, grant_pipeline, wall

WALLS = "".join(
    (
        wall("subscriptions_redelivery"),
        grant_app("subscriptions_redelivery", "SELECT, INSERT, UPDATE"),
        grant_pipeline("subscriptions_redelivery", "SELECT, UPDATE, DELETE"),
    )
)

REASON = """
ALTER TABLE subscriptions_delivery ADD COLUMN cancel_reason text NOT NULL DEFAULT '';
"""


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0014_portal_links")]
    operations = [
        migrations.CreateModel(
            name="Redelivery",
            fields=[
                ("id", models.UUIDField(default=tenants.identifiers.new_id, editable=False, primary_key=True, serialize=False)),
                ("kind", models.CharField(choices=[("recover", "Recover"), ("replay", "Replay")], max_length=8)),
                ("status", models.CharField(choices=[("running", "Running"), ("completed", "Completed"), ("cancelled", "Cancelled")], default="running", max_length=16)),
                ("device", models.CharField(blank=True, default="", max_length=255)),
                ("since", models.DateTimeField()),
                ("until", models.DateTimeField()),
                ("rate_per_s", models.PositiveIntegerField(default=100)),
                ("total", models.PositiveIntegerField(default=0)),
                ("done", models.PositiveIntegerField(default=0)),
                ("cursor", models.UUIDField(null=True)),
                ("rate_used_until", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("created_by", models.CharField(max_length=255)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("finished_at", models.DateTimeField(null=True)),
                ("endpoint", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="subscriptions.endpoint")),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant")),
            ],
            options={
                "verbose_name_plural": "redeliveries",
                "indexes": [models.Index(condition=models.Q(("status", "running")), fields=["created_at"], name="redelivery_running")],
                "constraints": [models.UniqueConstraint(condition=models.Q(("status", "running")), fields=("endpoint", "kind"), name="redelivery_one_running")],
            },
        ),
        migrations.RunSQL(WALLS, migrations.RunSQL.noop),
        migrations.RunSQL(
            REASON, "ALTER TABLE subscriptions_delivery DROP COLUMN cancel_reason;"
        ),
    ]
