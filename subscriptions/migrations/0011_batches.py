"""Several messages in one request."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0010_attempt_evidence")]
    operations = [
        migrations.AddField("endpoint", "batch_size", models.PositiveSmallIntegerField(default=1)),
        migrations.AddField("endpoint", "batch_wait_s", models.PositiveSmallIntegerField(default=5)),
        migrations.RunSQL(
            "ALTER TABLE subscriptions_attempt ADD COLUMN batch_id uuid;",
            "ALTER TABLE subscriptions_attempt DROP COLUMN batch_id;",
        ),
    ]
