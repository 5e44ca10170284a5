"""
Computing usage anew where readings changed.

Marks are an append-only queue, written with the readings that they are about, and
usage is computed by one worker at a time, from a snapshot that is newer than its lock:
so the last computation of a day has seen every reading, and no update is lost.
Source: docs/explanation/usage.md
"""

from ingest.services.thresholds import tell_crossed
from ingest.shares import STATE_UNITS, USED
from tenants.database import pipeline
from tenants.doorbell import ring

_LOCK = "SELECT pg_try_advisory_xact_lock(hashtext('ingest.recompute_usage'))"
#: Room to sort a transaction's readings without a file.
_ROOM = "SET LOCAL work_mem = '64MB'"

_RECOMPUTE = f"""
WITH mark AS (
    DELETE FROM ingest_usagemark
    WHERE id IN (SELECT id FROM ingest_usagemark ORDER BY id LIMIT %(limit)s)
    RETURNING tenant_id, channel_id, day
),
marked AS (SELECT DISTINCT tenant_id, channel_id, day FROM mark),
bound AS MATERIALIZED (
    SELECT d.tenant_id, d.day, ingest_day_start(d.day, t.timezone) AS from_at,
        ingest_day_start(d.day + 1, t.timezone) AS to_at
    FROM (SELECT DISTINCT tenant_id, day FROM marked) AS d
    JOIN tenants_tenant t ON t.id = d.tenant_id
),
bucket AS MATERIALIZED (
    SELECT m.tenant_id, m.channel_id, m.day AS place, d.from_at, d.to_at,
        c.daily_threshold IS NOT NULL AS has_threshold
    FROM marked m JOIN bound d USING (tenant_id, day)
    CROSS JOIN LATERAL (
        SELECT tenant_id, unit, daily_threshold FROM ingest_channel
        WHERE id = m.channel_id LIMIT 1
    ) AS c
    WHERE c.tenant_id = m.tenant_id AND c.unit <> ALL (%(state_units)s::text[])
),
{USED},
emptied AS (
    DELETE FROM ingest_usage u USING bucket b
    WHERE u.tenant_id = b.tenant_id AND u.channel_id = b.channel_id
        AND u.day = b.place
        -- NOT IN, which hashes: an anti-join would compare each day with all others.
        AND (b.tenant_id, b.channel_id, b.place) NOT IN (
            SELECT tenant_id, channel_id, place FROM used)
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
SELECT (SELECT count(*) FROM mark),
    array_agg(tenant_id), array_agg(channel_id), array_agg(place)
FROM bucket WHERE has_threshold
"""  # noqa: S608


def recompute(limit: int) -> int:
    """
    Compute the usage of the days under the first `limit` marks.

    Tells of the days that passed their threshold by that.
    Returns: the marks taken; 0: none is left, or another worker is at it.
    """
    with pipeline() as lane:
        (is_mine,) = lane.execute(_LOCK).fetchone() or (False,)
        if not is_mine:
            return 0
        lane.execute(_ROOM)
        row = lane.execute(
            _RECOMPUTE, {"limit": limit, "state_units": list(STATE_UNITS)}
        ).fetchone()
        marks, *days = row or (0, None, None, None)
        told = tell_crossed(lane, days) if days[0] else 0
    if told:
        ring("subscriptions.deliver")
    return int(marks)
