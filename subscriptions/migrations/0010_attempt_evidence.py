"""What was sent where, and what was answered; an endpoint's attempts by time."""

from django.db import migrations

COLUMNS = """
ALTER TABLE subscriptions_attempt
    ADD COLUMN endpoint_id uuid,
    ADD COLUMN url text NOT NULL DEFAULT '',
    ADD COLUMN signed_at_s bigint,
    ADD COLUMN http_version text NOT NULL DEFAULT '',
    ADD COLUMN response_headers text NOT NULL DEFAULT '';
-- An endpoint's latest attempts: its health.
CREATE INDEX attempt_of_endpoint ON subscriptions_attempt
    (tenant_id, endpoint_id, started_at);
"""

UNDO = """
DROP INDEX attempt_of_endpoint;
ALTER TABLE subscriptions_attempt
    DROP COLUMN endpoint_id, DROP COLUMN url, DROP COLUMN signed_at_s,
    DROP COLUMN http_version, DROP COLUMN response_headers;
"""


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0009_leases_and_lanes")]
    operations = [migrations.RunSQL(COLUMNS, UNDO)]
