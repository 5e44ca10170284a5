"""Marking the local days whose usage corrections and register readings change."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg import Connection

from ingest.shares import LONGEST_SPAN_DAYS

#: tenant, channel, start_at, duration_s (0: a register).
Touched = tuple[int, int, datetime, int]

_KEYS = """unnest(%(tenants)s::bigint[], %(channels)s::bigint[],
    %(starts)s::timestamptz[], %(durations)s::int[])
    AS k (tenant_id, channel_id, start_at, duration_s)"""

_INTERVALS = f"""
INSERT INTO ingest_usagemark (tenant_id, channel_id, day)
SELECT DISTINCT tenant_id, channel_id, first_day + n
FROM (
    SELECT k.tenant_id, k.channel_id,
        (k.start_at AT TIME ZONE t.timezone)::date AS first_day,
        ((k.start_at + k.duration_s * interval '1 second' - interval '1 microsecond')
            AT TIME ZONE t.timezone)::date AS last_day
    FROM {_KEYS} JOIN tenants_tenant t ON t.id = k.tenant_id
) AS touched
CROSS JOIN LATERAL generate_series(0, last_day - first_day) AS n
"""  # noqa: S608

#: A register's reading changes the spans to its neighbours on both sides.
_REGISTERS = f"""
INSERT INTO ingest_usagemark (tenant_id, channel_id, day)
SELECT DISTINCT tenant_id, channel_id, first_day + n
FROM (
    SELECT k.tenant_id, k.channel_id,
        (coalesce(earlier.start_at, k.start_at) AT TIME ZONE t.timezone)::date
            AS first_day,
        (coalesce(later.start_at, k.start_at) AT TIME ZONE t.timezone)::date
            AS last_day
    FROM {_KEYS}
    JOIN tenants_tenant t ON t.id = k.tenant_id
    LEFT JOIN LATERAL (
        SELECT r.start_at FROM ingest_reading r
        WHERE r.tenant_id = k.tenant_id AND r.channel_id = k.channel_id
            AND r.start_at < k.start_at
            AND r.start_at >= k.start_at - interval '{LONGEST_SPAN_DAYS} days'
            AND r.value IS NOT NULL
        ORDER BY r.start_at DESC LIMIT 1) AS earlier ON true
    LEFT JOIN LATERAL (
        SELECT r.start_at FROM ingest_reading r
        WHERE r.tenant_id = k.tenant_id AND r.channel_id = k.channel_id
            AND r.start_at > k.start_at
            AND r.start_at <= k.start_at + interval '{LONGEST_SPAN_DAYS} days'
            AND r.value IS NOT NULL
        ORDER BY r.start_at LIMIT 1) AS later ON true
) AS touched
CROSS JOIN LATERAL generate_series(0, last_day - first_day) AS n
"""  # noqa: S608


def mark(lane: Connection[Any], touched: Sequence[Touched]) -> None:
    """Mark every local day whose usage these readings may change."""
    for statement, rows in (
        (_INTERVALS, [row for row in touched if row[3]]),
        (_REGISTERS, [row for row in touched if not row[3]]),
    ):
        if rows:
            tenants, channels, starts, durations = zip(*rows, strict=True)
            lane.execute(
                statement,
                {
                    "tenants": list(tenants),
                    "channels": list(channels),
                    "starts": list(starts),
                    "durations": list(durations),
                },
            )
