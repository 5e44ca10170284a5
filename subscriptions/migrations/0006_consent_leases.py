"""A consent that ends by itself, the URL that is to follow, and each step of asking."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import tenants.identifiers
from tenants.row_security import grant_app, grant_pipeline, wall

WALLS = "".join(
    (
        wall("subscriptions_consentstep"),
        grant_app("subscriptions_consentstep", "SELECT, INSERT"),
        grant_pipeline("subscriptions_consentstep", "SELECT, INSERT, DELETE"),
    )
)

#: A consent that was given without an end is renewed like any other from now on.
LEASES = """
SET LOCAL ROLE gridhook_pipeline;
UPDATE subscriptions_endpoint
SET consent_expires_at = now() + interval '30 d',
    consent_due_at = now() + interval '24 d'
WHERE consented_at IS NOT NULL AND deleted_at IS NULL;
RESET ROLE;
"""


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0005_credentials")]
    operations = [
        migrations.CreateModel(
            name="ConsentStep",
            fields=[
                ("id", models.UUIDField(default=tenants.identifiers.new_id, editable=False, primary_key=True, serialize=False)),
                ("url", models.URLField(max_length=2048)),
                ("step", models.CharField(max_length=16)),
                ("status_code", models.PositiveSmallIntegerField(null=True)),
                ("detail", models.CharField(blank=True, default="", max_length=500)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("endpoint", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="subscriptions.endpoint")),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant")),
            ],
            options={
                "indexes": [models.Index(fields=["tenant", "endpoint", "-at"], name="consent_latest")],
            },
        ),
        migrations.RunSQL(WALLS, migrations.RunSQL.noop),
        migrations.AddField("endpoint", "proposed_url", models.URLField(blank=True, default="", max_length=2048)),
        migrations.AddField("endpoint", "consent_expires_at", models.DateTimeField(null=True)),
        migrations.RunSQL(LEASES, migrations.RunSQL.noop),
    ]
