"""What requests carry to be let in: headers, a client certificate, a bearer token."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0004_signing_keys")]
    operations = [
        migrations.AddField("endpoint", "header_names", django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=64), default=list, size=None)),
        migrations.AddField("endpoint", "sealed_headers", models.BinaryField(default=b"")),
        migrations.AddField("endpoint", "sealed_certificate", models.BinaryField(default=b"")),
        migrations.AddField("endpoint", "certificate_subject", models.CharField(blank=True, default="", max_length=300)),
        migrations.AddField("endpoint", "certificate_expires_at", models.DateTimeField(null=True)),
        migrations.AddField("endpoint", "oauth2_token_url", models.URLField(blank=True, default="", max_length=2048)),
        migrations.AddField("endpoint", "oauth2_client_id", models.CharField(blank=True, default="", max_length=255)),
        migrations.AddField("endpoint", "oauth2_scope", models.CharField(blank=True, default="", max_length=500)),
        migrations.AddField("endpoint", "sealed_oauth2_secret", models.BinaryField(default=b"")),
        migrations.AddField("endpoint", "sealed_oauth2_token", models.BinaryField(default=b"")),
        migrations.AddField("endpoint", "oauth2_expires_at", models.DateTimeField(null=True)),
        migrations.AddField("endpoint", "oauth2_due_at", models.DateTimeField(null=True)),
        migrations.AddField("endpoint", "oauth2_asked_at", models.DateTimeField(null=True)),
        migrations.AddField("endpoint", "oauth2_step", models.PositiveSmallIntegerField(default=0)),
        migrations.AddField("endpoint", "oauth2_error", models.CharField(blank=True, default="", max_length=500)),
        migrations.AddIndex("endpoint", models.Index(condition=models.Q(("oauth2_due_at__isnull", False)), fields=["oauth2_due_at"], name="endpoint_token_due")),
    ]
