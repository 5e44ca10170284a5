"""
How readings are shared out over stretches of time: the SQL of usage.

A day's usage and an hour's are the same question: what falls into each bucket
`[from_at, to_at)` of a channel. A value is split pro rata by time with cumulative
rounding, so that the parts of any split add up to it exactly.
Source: docs/explanation/usage.md
"""

#: Registers read further apart than this are not shared out over the days between.
LONGEST_SPAN_DAYS = 400
#: Decimals of a part; the last part takes what is left.
PART_DECIMALS = 6
#: Units whose values do not add up: power, flow, temperature, pressure, voltage, …
STATE_UNITS = (
    "kW",
    "l/min",
    "Cel",
    "bar",
    "V",
    "A",
    "Hz",
    "K",
    "var",
    "VA",
    "%RH",
)


def _cumulative(moment: str) -> str:
    """Return the SQL for what was used from the span's start to the moment."""
    return f"""CASE WHEN {moment} >= until_at THEN value
            WHEN {moment} <= since_at THEN 0
            ELSE round(value * extract(epoch FROM {moment} - since_at)
                / extract(epoch FROM until_at - since_at), {PART_DECIMALS}) END"""


#: The buckets with what their channels are. Looked up one by one: a planner that knows
#: little of these tables would join each bucket with all of the tenant's channels.
_SERIES = """
    SELECT b.*, c.kind, c.longest_s
    FROM bucket b CROSS JOIN LATERAL (
        SELECT tenant_id, kind, longest_s FROM ingest_channel
        WHERE id = b.channel_id LIMIT 1
    ) AS c
    WHERE c.tenant_id = b.tenant_id
"""

#: Intervals that reach into the bucket; none is longer than the channel's longest. The
#: OFFSET keeps both bounds with the index: without it all earlier readings are read.
_INTERVALS = """
    SELECT b.*, r.start_at AS since_at, r.until_at, r.value, r.quality,
        true AS is_reading
    FROM series b CROSS JOIN LATERAL (
        SELECT i.start_at, i.start_at + i.duration_s * interval '1 second' AS until_at,
            i.value, i.quality::text
        FROM ingest_reading i
        WHERE i.tenant_id = b.tenant_id AND i.channel_id = b.channel_id
            AND i.start_at < b.to_at
            AND i.start_at > b.from_at - b.longest_s * interval '1 second'
        OFFSET 0
    ) AS r
    WHERE b.kind = 'interval' AND r.until_at > b.from_at
"""

#: Steps from one stand of a register to the next, from the last one before the bucket
#: to the first one after it. A step that goes back, or takes too long, has no value.
_STEPS = f"""
    SELECT b.*, s.since_at, s.until_at,
        CASE WHEN s.value >= 0
            AND s.until_at - s.since_at <= interval '{LONGEST_SPAN_DAYS} days'
            THEN s.value END,
        s.quality, s.until_at >= b.from_at AND s.until_at < b.to_at
    FROM series b CROSS JOIN LATERAL (
        SELECT lag(i.start_at) OVER earlier AS since_at, i.start_at AS until_at,
            i.value - lag(i.value) OVER earlier AS value,
            greatest(i.quality::text, lag(i.quality::text) OVER earlier) AS quality
        FROM ingest_reading i
        WHERE i.tenant_id = b.tenant_id AND i.channel_id = b.channel_id
            AND i.value IS NOT NULL
            AND i.start_at >= coalesce((
                SELECT max(e.start_at) FROM ingest_reading e
                WHERE e.tenant_id = b.tenant_id AND e.channel_id = b.channel_id
                    AND e.value IS NOT NULL AND e.start_at <= b.from_at
                    AND e.start_at >= b.from_at - interval '{LONGEST_SPAN_DAYS} days'
                ), b.from_at)
            AND i.start_at <= coalesce((
                SELECT min(e.start_at) FROM ingest_reading e
                WHERE e.tenant_id = b.tenant_id AND e.channel_id = b.channel_id
                    AND e.value IS NOT NULL AND e.start_at >= b.to_at
                    AND e.start_at <= b.to_at + interval '{LONGEST_SPAN_DAYS} days'
                ), b.to_at)
        WINDOW earlier AS (ORDER BY i.start_at)
    ) AS s
    WHERE b.kind = 'register' AND s.until_at >= b.from_at
"""  # noqa: S608

#: From a CTE `bucket (tenant_id, channel_id, place, from_at, to_at)` to a CTE `used`:
#: one row for each bucket that a reading touches. Seconds that two intervals cover
#: count once, for the one that began first.
USED = f"""
series AS MATERIALIZED ({_SERIES}),
span AS ({_INTERVALS} UNION ALL {_STEPS}),
part AS (
    SELECT tenant_id, channel_id, place, from_at, to_at, is_reading, quality,
        {_cumulative("least(to_at, until_at)")}
            - {_cumulative("greatest(from_at, since_at)")} AS value,
        CASE WHEN value IS NOT NULL THEN greatest(from_at, since_at) END AS part_from,
        CASE WHEN value IS NOT NULL THEN least(to_at, until_at) END AS part_to
    FROM span
    WHERE is_reading OR (since_at < to_at AND until_at > from_at)
),
covering AS (
    SELECT *, part_to - greatest(part_from, max(part_to) OVER (
        PARTITION BY tenant_id, channel_id, place ORDER BY part_from, part_to
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) AS covered
    FROM part
),
used AS (
    SELECT tenant_id, channel_id, place, from_at, to_at,
        coalesce(sum(value), 0) AS value,
        coalesce(round(extract(epoch FROM sum(covered) FILTER (
            WHERE covered > interval '0' AND quality = 'A'))), 0)::int AS actual_s,
        coalesce(round(extract(epoch FROM sum(covered) FILTER (
            WHERE covered > interval '0' AND quality <> 'A'))), 0)::int AS estimated_s,
        count(*) FILTER (WHERE is_reading)::int AS reading_count
    FROM covering
    GROUP BY tenant_id, channel_id, place, from_at, to_at
)
"""  # noqa: S608
