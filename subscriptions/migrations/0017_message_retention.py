"""The worker may forget what is past its retention."""

from django.db import migrations

TABLES = "subscriptions_message, subscriptions_delivery, subscriptions_attempt"


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0016_manifests")]
    operations = [
        migrations.RunSQL(
            f"GRANT DELETE ON {TABLES} TO gridhook_pipeline;",
            f"REVOKE DELETE ON {TABLES} FROM gridhook_pipeline;",
        )
    ]
