"""
Computing usage anew where readings changed.

Marks are an append-only queue, written with the readings that they are about, and
usage is computed by one worker at a time, from a snapshot that is newer than its lock:
so the last computation of a day has seen every reading, and no update is lost.
Source: docs/explanation/usage.md
"""

from ingest.shares import STATE_UNITS, USED
from tenants.database import pipeline

#: Marks that one transaction looks at: many are about the same few days.
MARKS = 20_000
_LOCK = "SELECT pg_try_advisory_xact_lock(hashtext('ingest.recompute_usage'))"

_RECOMPUTE = f"""
WITH oldest AS (
    SELECT id, min(id) OVER (PARTITION BY tenant_id, channel_id, day) AS first_id
    FROM (SELECT * FROM ingest_usagemark ORDER BY id LIMIT {MARKS}) AS queue
),
ranked AS (
    SELECT id, dense_rank() OVER (ORDER BY first_id) AS place FROM oldest
),
mark AS (
    DELETE FROM ingest_usagemark m USING ranked r
    WHERE m.id = r.id AND r.place <= %(limit)s
    RETURNING m.tenant_id, m.channel_id, m.day
),
bucket AS MATERIALIZED (
    SELECT DISTINCT m.tenant_id, m.channel_id, m.day AS place,
        ingest_day_start(m.day, t.timezone) AS from_at,
        ingest_day_start(m.day + 1, t.timezone) AS to_at
    FROM mark m
    JOIN tenants_tenant t ON t.id = m.tenant_id
    JOIN ingest_channel c ON c.tenant_id = m.tenant_id AND c.id = m.channel_id
    WHERE c.unit <> ALL (%(state_units)s::text[])
),
{USED},
emptied AS (
    DELETE FROM ingest_usage u USING bucket b
    WHERE u.tenant_id = b.tenant_id AND u.channel_id = b.channel_id
        AND u.day = b.place AND NOT EXISTS (
            SELECT FROM used WHERE used.tenant_id = b.tenant_id
                AND used.channel_id = b.channel_id AND used.place = b.place)
),
stored AS (
    INSERT INTO ingest_usage (tenant_id, channel_id, day, value, expected_s, actual_s,
        estimated_s, reading_count, computed_at)
    SELECT tenant_id, channel_id, place, value, extract(epoch FROM to_at - from_at),
        actual_s, estimated_s, reading_count, clock_timestamp()
    FROM used ORDER BY tenant_id, channel_id, place
    ON CONFLICT (tenant_id, channel_id, day) DO UPDATE
    SET value = excluded.value, expected_s = excluded.expected_s,
        actual_s = excluded.actual_s, estimated_s = excluded.estimated_s,
        reading_count = excluded.reading_count, computed_at = excluded.computed_at
)
SELECT count(*) FROM mark
"""  # noqa: S608


def recompute(limit: int) -> int:
    """
    Compute the usage of up to `limit` days, those marked first.

    Returns: the marks taken; 0: none is left, or another worker is at it.
    """
    with pipeline() as lane:
        (is_mine,) = lane.execute(_LOCK).fetchone() or (False,)
        if not is_mine:
            return 0
        row = lane.execute(
            _RECOMPUTE, {"limit": limit, "state_units": list(STATE_UNITS)}
        ).fetchone()
    return int(row[0]) if row else 0
