"""Order by device: where each message stands, and which waits for another."""

from django.db import migrations, models

from tenants.row_security import grant_app, grant_pipeline, wall

#: A delivery that waits for another one about its device has no due time.
TABLES = """
ALTER TABLE subscriptions_delivery
    ALTER COLUMN next_attempt_at DROP NOT NULL,
    ADD COLUMN is_ordered boolean NOT NULL DEFAULT false;

CREATE TABLE subscriptions_devicelane (
    tenant_id   bigint NOT NULL,
    endpoint_id uuid NOT NULL,
    device      text COLLATE "C" NOT NULL,
    sequence    bigint NOT NULL,
    message_id  uuid NOT NULL,
    previous_id uuid,
    PRIMARY KEY (tenant_id, endpoint_id, device)
) WITH (fillfactor = 70);

CREATE TABLE subscriptions_laneplace (
    tenant_id   bigint NOT NULL,
    endpoint_id uuid NOT NULL,
    device      text COLLATE "C" NOT NULL,
    sequence    bigint NOT NULL,
    delivery_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, endpoint_id, device, sequence)
);
-- The places of a delivery that has ended.
CREATE INDEX laneplace_of_delivery ON subscriptions_laneplace (tenant_id, delivery_id);
"""

#: The owner sees no tenant's rows; the pipeline sees all.
UNDO = """
DROP TABLE subscriptions_laneplace, subscriptions_devicelane;
SET LOCAL ROLE gridhook_pipeline;
UPDATE subscriptions_delivery SET next_attempt_at = now()
    WHERE next_attempt_at IS NULL;
RESET ROLE;
ALTER TABLE subscriptions_delivery
    ALTER COLUMN next_attempt_at SET NOT NULL, DROP COLUMN is_ordered;
"""

WALLS = "".join(
    (
        wall("subscriptions_devicelane"),
        grant_app("subscriptions_devicelane", "SELECT, INSERT, UPDATE"),
        grant_pipeline("subscriptions_devicelane", "SELECT, INSERT, UPDATE, DELETE"),
        wall("subscriptions_laneplace"),
        grant_app("subscriptions_laneplace", "SELECT, INSERT, DELETE"),
        grant_pipeline("subscriptions_laneplace", "SELECT, INSERT, DELETE"),
    )
)


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0012_message_devices")]
    operations = [
        migrations.AddField("endpoint", "is_ordered", models.BooleanField(default=False)),
        migrations.RunSQL(TABLES, UNDO),
        migrations.RunSQL(WALLS, migrations.RunSQL.noop),
        migrations.CreateModel(
            name="DeviceLane",
            fields=[
                ("pk", models.CompositePrimaryKey("tenant_id", "endpoint_id", "device", blank=True, editable=False, primary_key=True, serialize=False)),
                ("device", models.TextField()),
                ("sequence", models.BigIntegerField()),
                ("message_id", models.UUIDField()),
                ("previous_id", models.UUIDField(null=True)),
            ],
            options={"db_table": "subscriptions_devicelane", "managed": False},
        ),
        migrations.CreateModel(
            name="LanePlace",
            fields=[
                ("pk", models.CompositePrimaryKey("tenant_id", "endpoint_id", "device", "sequence", blank=True, editable=False, primary_key=True, serialize=False)),
                ("device", models.TextField()),
                ("sequence", models.BigIntegerField()),
            ],
            options={"db_table": "subscriptions_laneplace", "managed": False},
        ),
    ]
