"""What an endpoint was sent of each local day."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import tenants.identifiers
from tenants.row_security import grant_app, grant_pipeline, wall

WALLS = "".join(
    (
        wall("subscriptions_manifest"),
        grant_app("subscriptions_manifest", "SELECT"),
        grant_pipeline("subscriptions_manifest", "SELECT, INSERT, DELETE"),
    )
)


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0015_redeliveries")]
    operations = [
        migrations.CreateModel(
            name="Manifest",
            fields=[
                ("id", models.UUIDField(default=tenants.identifiers.new_id, editable=False, primary_key=True, serialize=False)),
                ("day_date", models.DateField()),
                ("start_at", models.DateTimeField()),
                ("end_at", models.DateTimeField()),
                ("messages", models.PositiveIntegerField()),
                ("ids_hash", models.CharField(max_length=64)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("endpoint", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="subscriptions.endpoint")),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant")),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("tenant", "endpoint", "day_date"), name="manifest_once_a_day")],
            },
        ),
        migrations.RunSQL(WALLS, migrations.RunSQL.noop),
        migrations.AddField("endpoint", "has_manifest", models.BooleanField(default=False)),
        migrations.AddField("endpoint", "manifest_until", models.DateField(null=True)),
    ]
