"""A threshold for a channel's day, and the days on which it was passed."""

from django.db import migrations, models

from tenants.row_security import grant_app, grant_pipeline, wall

TABLE = """
CREATE TABLE ingest_thresholdcrossing (
    tenant_id  bigint NOT NULL,
    channel_id bigint NOT NULL,
    day        date NOT NULL,
    value      numeric NOT NULL,
    threshold  numeric NOT NULL,
    told_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, channel_id, day)
);
"""

WALLS = "".join(
    (
        wall("ingest_thresholdcrossing"),
        grant_app("ingest_thresholdcrossing", "SELECT"),
        grant_pipeline("ingest_thresholdcrossing", "SELECT, INSERT"),
    )
)


class Migration(migrations.Migration):
    dependencies = [("ingest", "0003_device_keys_chunks_and_watches")]
    operations = [
        migrations.AddField(
            "channel",
            "daily_threshold",
            models.DecimalField(
                blank=True, decimal_places=20, max_digits=60, null=True
            ),
        ),
        migrations.RunSQL(TABLE, "DROP TABLE ingest_thresholdcrossing;"),
        migrations.RunSQL(WALLS, migrations.RunSQL.noop),
        migrations.CreateModel(
            "ThresholdCrossing",
            [
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "tenant_id",
                        "channel_id",
                        "day",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("day", models.DateField()),
                ("value", models.DecimalField(decimal_places=20, max_digits=60)),
                ("threshold", models.DecimalField(decimal_places=20, max_digits=60)),
                ("told_at", models.DateTimeField()),
            ],
            options={"db_table": "ingest_thresholdcrossing", "managed": False},
        ),
    ]
