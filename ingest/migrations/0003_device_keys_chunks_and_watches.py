"""
Device keys, the progress of large callbacks, watched channels, discarded rejections.

`ingest_sourceversion` counts the changes of sources: a listener that missed an
announcement notices it by the number. Source: docs/explanation/durability.md
"""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models.functions import Now

from tenants.row_security import (
    APP_ROLE,
    PIPELINE_ROLE,
    grant_app,
    grant_pipeline,
    use_sequences,
    wall,
)

TABLES = """
ALTER TABLE ingest_callbackbody ADD COLUMN signed_by text;

ALTER TABLE ingest_callbackrejection
    ADD COLUMN discarded_at timestamptz, ADD COLUMN discard_reason text;
-- What waits for a decision: counted by code, and decided by code, oldest first.
CREATE INDEX ingest_callbackrejection_open
    ON ingest_callbackrejection (tenant_id, code, callback_id)
    WHERE discarded_at IS NULL;

ALTER TABLE ingest_pendingcallback ADD COLUMN is_large boolean NOT NULL DEFAULT false;
-- The queue of large callbacks, oldest first.
CREATE INDEX ingest_pendingcallback_large ON ingest_pendingcallback (callback_id)
    WHERE is_large;

CREATE TABLE ingest_processingprogress (
    tenant_id   bigint NOT NULL,
    callback_id uuid NOT NULL,
    began_at    timestamptz NOT NULL,
    done        integer NOT NULL,
    stored      integer NOT NULL DEFAULT 0,
    unchanged   integer NOT NULL DEFAULT 0,
    corrected   integer NOT NULL DEFAULT 0,
    rejected    integer NOT NULL DEFAULT 0,
    errors      jsonb,
    corrections jsonb,
    PRIMARY KEY (tenant_id, callback_id)
);

CREATE TABLE ingest_channelwatch (
    tenant_id    bigint NOT NULL,
    channel_id   bigint NOT NULL,
    expected_s   integer NOT NULL,
    heard_at     timestamptz,
    due_at       timestamptz NOT NULL,
    silent_since timestamptz,
    PRIMARY KEY (tenant_id, channel_id)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.1,
        autovacuum_vacuum_cost_delay = 0);
-- The sweep for silence, of all tenants, the longest overdue first.
CREATE INDEX ingest_channelwatch_due ON ingest_channelwatch (due_at)
    WHERE silent_since IS NULL;
-- A tenant's silent channels, to be counted and listed.
CREATE INDEX ingest_channelwatch_silent ON ingest_channelwatch (tenant_id, channel_id)
    WHERE silent_since IS NOT NULL;

-- One row: when silence was looked for last, and since when without a pause.
CREATE TABLE ingest_silencesweep (
    swept_at    timestamptz NOT NULL,
    awake_since timestamptz NOT NULL
);
INSERT INTO ingest_silencesweep VALUES (now(), now());

CREATE TABLE ingest_sourceversion (version bigint NOT NULL);
INSERT INTO ingest_sourceversion VALUES (0);
"""

TABLES_BACK = """
DROP TABLE ingest_sourceversion, ingest_silencesweep, ingest_channelwatch,
    ingest_processingprogress;
DROP INDEX ingest_callbackrejection_open;
ALTER TABLE ingest_pendingcallback DROP COLUMN is_large;
ALTER TABLE ingest_callbackrejection
    DROP COLUMN discarded_at, DROP COLUMN discard_reason;
ALTER TABLE ingest_callbackbody DROP COLUMN signed_by;
"""

#: As `ingest_drop_bodies_before`; a month is dropped as a whole.
READINGS = f"""
CREATE FUNCTION ingest_drop_readings_before(day date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '300ms' AS $$
DECLARE
    child text;
    dropped integer := 0;
BEGIN
    FOR child IN
        SELECT c.relname FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'public.ingest_reading'::regclass
            AND c.relname ~ '_[0-9]{{6}}$'
            AND to_date(right(c.relname, 6), 'YYYYMM') + interval '1 month' <= day
    LOOP
        EXECUTE format('DROP TABLE public.%I', child);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
EXCEPTION WHEN lock_not_available THEN
    RETURN 0;
END $$;
REVOKE ALL ON FUNCTION ingest_drop_readings_before FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ingest_drop_readings_before TO {PIPELINE_ROLE};
"""

WALLS = "".join(
    (
        wall("ingest_revokeddevice"),
        grant_app("ingest_revokeddevice", "SELECT, INSERT, DELETE"),
        grant_pipeline("ingest_revokeddevice", "SELECT"),
        use_sequences(["ingest_revokeddevice"]),
        wall("ingest_processingprogress"),
        # Processing again begins at the first reading.
        grant_app("ingest_processingprogress", "SELECT, DELETE"),
        grant_pipeline("ingest_processingprogress", "SELECT, INSERT, UPDATE, DELETE"),
        wall("ingest_channelwatch"),
        grant_app("ingest_channelwatch"),
        grant_pipeline("ingest_channelwatch", "SELECT, UPDATE"),
        grant_app(
            "ingest_callbackrejection", "UPDATE (discarded_at, discard_reason)"
        ),
        # Ids past their retention are forgotten.
        f"GRANT DELETE ON ingest_callback TO {PIPELINE_ROLE};",
        f"GRANT SELECT, UPDATE ON ingest_silencesweep TO {PIPELINE_ROLE};",
        f"GRANT SELECT, UPDATE ON ingest_sourceversion TO {APP_ROLE};",
        f"GRANT SELECT ON ingest_sourceversion TO {PIPELINE_ROLE};",
    )
)


class Migration(migrations.Migration):
    dependencies = [
        ("ingest", "0002_fact_tables"),
        ("tenants", "0004_tenant_rate_limit_per_s"),
    ]
    operations = [
        migrations.AddField(
            "source",
            "device_keys",
            models.BooleanField(
                default=False,
                help_text="Each device signs with a key of its own, derived from the secret.",
            ),
        ),
        migrations.AddField(
            "channel",
            "expected_interval_s",
            models.PositiveIntegerField(null=True, blank=True),
        ),
        migrations.CreateModel(
            "RevokedDevice",
            [
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("device", models.CharField(db_collation="C", max_length=255)),
                ("revoked_at", models.DateTimeField(db_default=Now())),
                (
                    "source",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="revoked_devices",
                        to="ingest.source",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "source", "device"),
                        name="revoked_device_unique",
                    )
                ],
            },
        ),
        migrations.RunSQL(TABLES, TABLES_BACK),
        migrations.CreateModel(
            "ChannelWatch",
            [
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "tenant_id",
                        "channel_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("expected_s", models.PositiveIntegerField()),
                ("heard_at", models.DateTimeField(null=True)),
                ("due_at", models.DateTimeField()),
                ("silent_since", models.DateTimeField(null=True)),
            ],
            options={"db_table": "ingest_channelwatch", "managed": False},
        ),
        migrations.CreateModel(
            "ProcessingProgress",
            [
                (
                    "callback",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="ingest.callback",
                    ),
                ),
                ("began_at", models.DateTimeField()),
                ("done", models.IntegerField()),
                ("stored", models.IntegerField(default=0)),
                ("unchanged", models.IntegerField(default=0)),
                ("corrected", models.IntegerField(default=0)),
                ("rejected", models.IntegerField(default=0)),
                ("errors", models.JSONField(null=True)),
                ("corrections", models.JSONField(null=True)),
            ],
            options={"db_table": "ingest_processingprogress", "managed": False},
        ),
        migrations.RunSQL(
            READINGS, "DROP FUNCTION ingest_drop_readings_before(date);"
        ),
        migrations.RunSQL(WALLS, migrations.RunSQL.noop),
    ]
