"""What a message tells of: the devices, and the callback."""

from django.db import migrations, models

from tenants.row_security import grant_app, grant_pipeline, wall

TABLE = """
ALTER TABLE subscriptions_message ADD COLUMN receipt_id uuid;
-- From a callback to what was told of it.
CREATE INDEX message_of_receipt ON subscriptions_message
    (tenant_id, receipt_id) WHERE receipt_id IS NOT NULL;

CREATE TABLE subscriptions_messagedevice (
    tenant_id  bigint NOT NULL,
    device     text COLLATE "C" NOT NULL,
    message_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, device, message_id)
);
"""

UNDO = """
DROP TABLE subscriptions_messagedevice;
DROP INDEX message_of_receipt;
ALTER TABLE subscriptions_message DROP COLUMN receipt_id;
"""

WALLS = "".join(
    (
        wall("subscriptions_messagedevice"),
        grant_app("subscriptions_messagedevice", "SELECT, INSERT"),
        grant_pipeline("subscriptions_messagedevice", "SELECT, INSERT, DELETE"),
    )
)


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0011_batches")]
    operations = [
        migrations.RunSQL(TABLE, UNDO),
        migrations.RunSQL(WALLS, migrations.RunSQL.noop),
        migrations.CreateModel(
            name="MessageDevice",
            fields=[
                ("pk", models.CompositePrimaryKey("tenant_id", "device", "message_id", blank=True, editable=False, primary_key=True, serialize=False)),
                ("device", models.TextField()),
            ],
            options={"db_table": "subscriptions_messagedevice", "managed": False},
        ),
    ]
