"""A claim's lease apart from the due time, and which deliveries go first."""

from django.db import migrations

COLUMNS = """
ALTER TABLE subscriptions_delivery
    ADD COLUMN lane smallint NOT NULL DEFAULT 1,
    ADD COLUMN leased_until timestamptz;
-- The claim: an endpoint's due deliveries, the most urgent lane first. A claim changes
-- none of these columns, so it touches no index. What is published together is due at
-- one moment; of entries that share a tuple none can be marked dead before the last is,
-- and each claim would read the rows of all that are delivered.
DROP INDEX delivery_due;
CREATE INDEX delivery_due ON subscriptions_delivery
    (tenant_id, endpoint_id, lane, next_attempt_at)
    WITH (deduplicate_items = off) WHERE status = 'pending';
"""

UNDO = """
DROP INDEX delivery_due;
ALTER TABLE subscriptions_delivery DROP COLUMN lane, DROP COLUMN leased_until;
CREATE INDEX delivery_due ON subscriptions_delivery
    (tenant_id, endpoint_id, next_attempt_at) WHERE status = 'pending';
"""


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0008_maintenance_windows")]
    operations = [migrations.RunSQL(COLUMNS, UNDO)]
