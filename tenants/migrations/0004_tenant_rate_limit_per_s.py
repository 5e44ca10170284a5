from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0003_shared_tables")]
    operations = [
        migrations.AddField(
            model_name="tenant",
            name="rate_limit_per_s",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["tenant", "subject"], name="audit_subject"),
        ),
    ]
