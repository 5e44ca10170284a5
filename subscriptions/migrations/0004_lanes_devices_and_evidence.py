"""Leases apart from due times, lanes, devices of messages, and fuller attempts."""

from django.db import migrations

from tenants.row_security import (
    APP_ROLE,
    grant_app,
    grant_pipeline,
    use_sequences,
    wall,
)

TABLES = """
ALTER TABLE subscriptions_message ADD COLUMN receipt_id uuid;
-- From a callback to what was told of it.
CREATE INDEX message_of_receipt ON subscriptions_message
    (tenant_id, receipt_id) WHERE receipt_id IS NOT NULL;

ALTER TABLE subscriptions_delivery
    ALTER COLUMN next_attempt_at DROP NOT NULL,
    ADD COLUMN body bytea,
    ADD COLUMN lane smallint NOT NULL DEFAULT 1,
    ADD COLUMN is_ordered boolean NOT NULL DEFAULT false,
    ADD COLUMN leased_until timestamptz,
    ADD COLUMN cancel_reason text NOT NULL DEFAULT '';
-- The claim: an endpoint's due deliveries, the most urgent lane first. A claim changes
-- none of these columns, so it touches no index. What is published together is due at
-- one moment; of entries that share a tuple none can be marked dead before the last is,
-- and each claim would read the rows of all that are delivered.
DROP INDEX delivery_due;
CREATE INDEX delivery_due ON subscriptions_delivery
    (tenant_id, endpoint_id, lane, next_attempt_at)
    WITH (deduplicate_items = off) WHERE status = 'pending';

ALTER TABLE subscriptions_attempt
    ADD COLUMN endpoint_id uuid,
    ADD COLUMN url text NOT NULL DEFAULT '',
    ADD COLUMN signed_at_s bigint,
    ADD COLUMN http_version text NOT NULL DEFAULT '',
    ADD COLUMN batch_id uuid,
    ADD COLUMN response_headers text NOT NULL DEFAULT '';
-- An endpoint's latest attempts: its health.
CREATE INDEX attempt_of_endpoint ON subscriptions_attempt
    (tenant_id, endpoint_id, started_at);

CREATE TABLE subscriptions_messagedevice (
    tenant_id  bigint NOT NULL,
    device     text COLLATE "C" NOT NULL,
    message_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, device, message_id)
);

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

UNDO = """
DROP TABLE subscriptions_laneplace, subscriptions_devicelane,
    subscriptions_messagedevice;
DROP INDEX attempt_of_endpoint;
ALTER TABLE subscriptions_attempt
    DROP COLUMN endpoint_id, DROP COLUMN url, DROP COLUMN signed_at_s,
    DROP COLUMN http_version, DROP COLUMN batch_id, DROP COLUMN response_headers;
DROP INDEX delivery_due;
UPDATE subscriptions_delivery SET next_attempt_at = now()
    WHERE next_attempt_at IS NULL;
ALTER TABLE subscriptions_delivery
    ALTER COLUMN next_attempt_at SET NOT NULL,
    DROP COLUMN body, DROP COLUMN lane, DROP COLUMN is_ordered,
    DROP COLUMN leased_until, DROP COLUMN cancel_reason;
CREATE INDEX delivery_due ON subscriptions_delivery
    (tenant_id, endpoint_id, next_attempt_at) WHERE status = 'pending';
DROP INDEX message_of_receipt;
ALTER TABLE subscriptions_message DROP COLUMN receipt_id;
"""

WALLS = "".join(
    (
        wall("subscriptions_messagedevice"),
        grant_app("subscriptions_messagedevice", "SELECT, INSERT"),
        grant_pipeline("subscriptions_messagedevice", "SELECT, INSERT, DELETE"),
        wall("subscriptions_devicelane"),
        grant_app("subscriptions_devicelane", "SELECT, INSERT, UPDATE"),
        grant_pipeline("subscriptions_devicelane", "SELECT, INSERT, UPDATE, DELETE"),
        wall("subscriptions_laneplace"),
        grant_app("subscriptions_laneplace", "SELECT, INSERT, DELETE"),
        grant_pipeline("subscriptions_laneplace", "SELECT, INSERT, DELETE"),
        wall("subscriptions_signingkey"),
        grant_app("subscriptions_signingkey"),  # An ended key is deleted.
        grant_pipeline("subscriptions_signingkey", "SELECT"),
        wall("subscriptions_consentstep"),
        grant_app("subscriptions_consentstep", "SELECT, INSERT"),
        grant_pipeline("subscriptions_consentstep", "SELECT, INSERT, DELETE"),
        wall("subscriptions_maintenancewindow"),
        grant_app("subscriptions_maintenancewindow"),
        grant_pipeline("subscriptions_maintenancewindow", "SELECT, UPDATE, DELETE"),
        wall("subscriptions_portallink"),
        grant_app("subscriptions_portallink", "SELECT, INSERT, UPDATE"),
        grant_pipeline("subscriptions_portallink", "SELECT, DELETE"),
        wall("subscriptions_devicegroup"),
        grant_app("subscriptions_devicegroup"),
        grant_pipeline("subscriptions_devicegroup", "SELECT"),
        wall("subscriptions_redelivery"),
        grant_app("subscriptions_redelivery", "SELECT, INSERT, UPDATE"),
        grant_pipeline("subscriptions_redelivery", "SELECT, UPDATE, DELETE"),
        wall("subscriptions_manifest"),
        grant_app("subscriptions_manifest", "SELECT"),
        grant_pipeline("subscriptions_manifest", "SELECT, INSERT, DELETE"),
        use_sequences(["subscriptions_signingkey"]),
        # What is past its retention.
        "GRANT DELETE ON subscriptions_message, subscriptions_delivery,",
        " subscriptions_attempt TO gridhook_pipeline;",
    )
)

#: A portal link says which tenant it is of, as an API key does (tenants/0002).
IDENTITY = f"""
CREATE POLICY identify ON subscriptions_portallink
    FOR SELECT TO CURRENT_USER USING (true);

CREATE FUNCTION subscriptions_identify_link(wanted_digest bytea, wanted_id uuid)
RETURNS TABLE (
    id uuid, tenant_id bigint, endpoint_id uuid, note varchar, expires_at timestamptz
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT l.id, l.tenant_id, l.endpoint_id, l.note, l.expires_at
    FROM public.subscriptions_portallink l
    WHERE (l.digest = wanted_digest OR l.id = wanted_id)
        AND l.revoked_at IS NULL AND l.expires_at > now()
$$;

REVOKE ALL ON FUNCTION subscriptions_identify_link FROM PUBLIC;
GRANT EXECUTE ON FUNCTION subscriptions_identify_link TO {APP_ROLE};
"""

UNDO_IDENTITY = """
DROP FUNCTION subscriptions_identify_link(bytea, uuid);
DROP POLICY identify ON subscriptions_portallink;
"""

UNDO_GRANTS = """
REVOKE DELETE ON subscriptions_message, subscriptions_delivery,
    subscriptions_attempt FROM gridhook_pipeline;
"""

#: A consent that was given without an end is renewed like any other from now on.
LEASES = """
SET LOCAL ROLE gridhook_pipeline;
UPDATE subscriptions_endpoint
SET consent_expires_at = now() + interval '30 d',
    consent_due_at = now() + interval '24 d'
WHERE consented_at IS NOT NULL AND consent_expires_at IS NULL AND deleted_at IS NULL;
RESET ROLE;
"""


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0003_what_how_and_how_well")]
    operations = [
        migrations.RunSQL(TABLES, UNDO),
        migrations.RunSQL(WALLS, UNDO_GRANTS),
        migrations.RunSQL(IDENTITY, UNDO_IDENTITY),
        migrations.RunSQL(LEASES, migrations.RunSQL.noop),
    ]
