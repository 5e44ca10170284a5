"""Times in which an endpoint's messages wait."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import tenants.identifiers
from tenants.row_security import grant_app, grant_pipeline, wall

WALLS = "".join(
    (
        wall("subscriptions_maintenancewindow"),
        grant_app("subscriptions_maintenancewindow"),
        grant_pipeline("subscriptions_maintenancewindow", "SELECT, UPDATE, DELETE"),
    )
)


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0007_pace_and_health")]
    operations = [
        migrations.CreateModel(
            name="MaintenanceWindow",
            fields=[
                ("id", models.UUIDField(default=tenants.identifiers.new_id, editable=False, primary_key=True, serialize=False)),
                ("start_at", models.DateTimeField()),
                ("end_at", models.DateTimeField()),
                ("closed_at", models.DateTimeField(null=True)),
                ("reason", models.CharField(blank=True, default="", max_length=200)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("endpoint", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="windows", to="subscriptions.endpoint")),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant")),
            ],
            options={
                "indexes": [models.Index(condition=models.Q(("closed_at__isnull", True)), fields=["endpoint", "start_at"], name="window_open")],
                "constraints": [models.CheckConstraint(condition=models.Q(("end_at__gt", models.F("start_at"))), name="window_ends_after_it_starts")],
            },
        ),
        migrations.RunSQL(WALLS, migrations.RunSQL.noop),
    ]
