"""Messages, deliveries and attempts, keyed by tenant first; walls and grants."""

from django.db import migrations

from tenants.row_security import grant_app, grant_pipeline, use_sequences, wall

TABLES = """
CREATE TABLE subscriptions_message (
    tenant_id  bigint NOT NULL REFERENCES tenants_tenant (id),
    id         uuid NOT NULL,
    event_type text NOT NULL,
    body       bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE subscriptions_delivery (
    tenant_id        bigint NOT NULL,
    id               uuid NOT NULL,
    message_id       uuid NOT NULL,
    endpoint_id      uuid NOT NULL,
    event_type       text NOT NULL,
    status           text NOT NULL DEFAULT 'pending',
    attempt_count    integer NOT NULL DEFAULT 0,
    schedule_step    integer NOT NULL DEFAULT 0,
    next_attempt_at  timestamptz NOT NULL DEFAULT now(),
    claim_id         uuid,
    last_status_code smallint,
    last_error       text NOT NULL DEFAULT '',
    created_at       timestamptz NOT NULL DEFAULT now(),
    finished_at      timestamptz,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT delivery_once UNIQUE (tenant_id, endpoint_id, message_id),
    CONSTRAINT delivery_status_known
        CHECK (status IN ('pending', 'delivered', 'dead', 'cancelled'))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);

-- The claim: an endpoint's due deliveries, oldest due first.
CREATE INDEX delivery_due ON subscriptions_delivery
    (tenant_id, endpoint_id, next_attempt_at) WHERE status = 'pending';

-- What needs a person: dead letters, and recovering them.
CREATE INDEX delivery_dead ON subscriptions_delivery
    (tenant_id, endpoint_id, finished_at) WHERE status = 'dead';

CREATE TABLE subscriptions_attempt (
    tenant_id        bigint NOT NULL,
    id               uuid NOT NULL,
    delivery_id      uuid NOT NULL,
    number           integer NOT NULL,
    started_at       timestamptz NOT NULL,
    duration_ms      integer NOT NULL,
    status_code      smallint,
    error            text NOT NULL DEFAULT '',
    error_detail     text NOT NULL DEFAULT '',
    address          text NOT NULL DEFAULT '',
    response_excerpt bytea NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, delivery_id, number, id)
);
"""

WALLS = "".join(
    (
        wall("subscriptions_endpoint"),
        grant_app("subscriptions_endpoint", "SELECT, INSERT, UPDATE"),
        grant_pipeline("subscriptions_endpoint", "SELECT, UPDATE"),
        wall("subscriptions_endpointsecret"),
        grant_app("subscriptions_endpointsecret"),  # An ended secret is deleted.
        grant_pipeline("subscriptions_endpointsecret", "SELECT"),
        wall("subscriptions_message"),
        grant_app("subscriptions_message", "SELECT, INSERT"),
        grant_pipeline("subscriptions_message", "SELECT, INSERT"),
        wall("subscriptions_delivery"),
        grant_app("subscriptions_delivery", "SELECT, INSERT, UPDATE"),
        grant_pipeline("subscriptions_delivery", "SELECT, INSERT, UPDATE"),
        wall("subscriptions_attempt"),
        grant_app("subscriptions_attempt", "SELECT"),
        grant_pipeline("subscriptions_attempt", "SELECT, INSERT"),
        use_sequences(["subscriptions_endpointsecret"]),
    )
)


class Migration(migrations.Migration):
    dependencies = [
        ("subscriptions", "0001_initial"),
        ("tenants", "0002_roles_and_walls"),
    ]
    operations = [
        migrations.RunSQL(
            TABLES,
            """DROP TABLE subscriptions_attempt, subscriptions_delivery,
            subscriptions_message;""",
        ),
        migrations.RunSQL(WALLS, migrations.RunSQL.noop),
    ]
