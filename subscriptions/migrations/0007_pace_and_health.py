"""How fast an endpoint is sent to, and when it is spared."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0006_consent_leases")]
    operations = [
        migrations.AddField("endpoint", "max_rate_per_min", models.PositiveIntegerField(null=True)),
        migrations.AddField("endpoint", "max_concurrency", models.PositiveSmallIntegerField(default=32)),
        migrations.AddField("endpoint", "drain_rate_per_min", models.PositiveIntegerField(default=6000)),
        migrations.AddField("endpoint", "draining_since", models.DateTimeField(null=True)),
        migrations.AddField("endpoint", "failing_warned", models.PositiveSmallIntegerField(default=0)),
        migrations.AddField("endpoint", "breaker", models.CharField(choices=[("closed", "Closed"), ("open", "Open"), ("half_open", "Half open")], default="closed", max_length=16)),
        migrations.AddField("endpoint", "breaker_trips", models.PositiveSmallIntegerField(default=0)),
        migrations.AddField("endpoint", "hold_until", models.DateTimeField(null=True)),
        migrations.AddField("endpoint", "hold_reason", models.CharField(blank=True, default="", max_length=200)),
    ]
