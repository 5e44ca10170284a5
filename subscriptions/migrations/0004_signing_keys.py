"""Ed25519 keys of tenants, and which signatures an endpoint wants beside the usual."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

from tenants.row_security import grant_app, grant_pipeline, use_sequences, wall

WALLS = "".join(
    (
        wall("subscriptions_signingkey"),
        grant_app("subscriptions_signingkey"),  # An ended key is deleted.
        grant_pipeline("subscriptions_signingkey", "SELECT"),
        use_sequences(["subscriptions_signingkey"]),
    )
)


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0003_filters_and_device_groups")]
    operations = [
        migrations.CreateModel(
            name="SigningKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("sealed", models.BinaryField()),
                ("public", models.CharField(max_length=64)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("expires_at", models.DateTimeField(null=True)),
                ("tenant", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant")),
            ],
        ),
        migrations.RunSQL(WALLS, migrations.RunSQL.noop),
        migrations.AddField("endpoint", "extra_signatures", django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=8), default=list, size=None)),
    ]
