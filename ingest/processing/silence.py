"""
Noticing channels that fall silent, and those that are heard again.

A watched channel has a row with the moment by which it is due. A batch moves that
moment on; a sweep reads the index of those moments, never the readings.
Source: docs/explanation/retention.md
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.conf import settings
from psycopg import Connection

from ingest.processing.readings import Offers
from ingest.receipts import instant
from subscriptions.filtering import Subject
from subscriptions.services.publishing import Event, publish

#: A channel is due after its expected interval and a twentieth: so it need not be
#: written down each time that it is heard, and is never called silent too early.
DUE = "interval '1.05 seconds'"
ONCE = "interval '1 second'"
#: Seconds that the sweep leaves to callbacks on their way into the ledger, and to
#: workers that do not know yet of a new watch.
HOLD_S = 10
#: After a pause of the sweeps as long as this, and as three of them, each channel is
#: given a whole interval anew: it may have called while nobody answered.
PAUSE_S = 60
PAUSE_SWEEPS = 3
#: Channels that one transaction calls silent at most.
MOST_AT_ONCE = 1_000

#: Holds each row that must be moved, in the order given: workers that hear the same
#: channels never wait for each other in a circle. A silent channel is heard again when
#: by this callback it is not yet due; one that waited long is not.
_HEAR = f"""
WITH held AS MATERIALIZED (
    SELECT k.*, w.expected_s, w.silent_since
    FROM unnest(%(tenants)s::bigint[], %(channels)s::bigint[],
            %(heard)s::timestamptz[]) AS k (tenant_id, channel_id, heard_at)
    CROSS JOIN LATERAL (
        SELECT w.expected_s, w.silent_since FROM ingest_channelwatch w
        WHERE w.tenant_id = k.tenant_id AND w.channel_id = k.channel_id
            AND CASE WHEN w.silent_since IS NULL THEN w.heard_at IS NULL
                    OR w.due_at < k.heard_at + w.expected_s * {ONCE}
                ELSE k.heard_at + w.expected_s * {DUE} > now() END
        LIMIT 1 FOR UPDATE
    ) AS w
), moved AS (
    UPDATE ingest_channelwatch w
    SET heard_at = greatest(w.heard_at, h.heard_at), silent_since = NULL,
        due_at = greatest(w.due_at, h.heard_at + h.expected_s * {DUE})
    FROM held h WHERE w.tenant_id = h.tenant_id AND w.channel_id = h.channel_id
)
SELECT tenant_id, channel_id, expected_s, heard_at, silent_since FROM held
WHERE silent_since IS NOT NULL
"""  # noqa: S608

#: One sweep at a time; another that comes meanwhile finds no row.
_BEGIN = """
UPDATE ingest_silencesweep
SET swept_at = now(), awake_since = CASE
    WHEN swept_at < now() - %s * interval '1 second' THEN now() ELSE awake_since END
WHERE ctid = (SELECT ctid FROM ingest_silencesweep LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING awake_since, now()
"""

#: What was received before the horizon is processed, so a channel due before it was not
#: heard. `ingest_channelwatch_due` serves it. A row that a batch holds is being heard.
FIND = f"""
WITH horizon AS MATERIALIZED (
    SELECT least(now() - interval '{HOLD_S} seconds', (
        SELECT received_at FROM ingest_pendingcallback ORDER BY callback_id LIMIT 1
    )) AS at
), due AS MATERIALIZED (
    SELECT w.tenant_id, w.channel_id, w.due_at,
        %(awake_since)s::timestamptz + w.expected_s * {DUE} AS fair_at
    FROM ingest_channelwatch w
    WHERE w.silent_since IS NULL AND w.due_at < (SELECT at FROM horizon)
    ORDER BY w.due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE ingest_channelwatch w
SET silent_since = CASE WHEN d.fair_at < h.at THEN d.due_at END,
    due_at = CASE WHEN d.fair_at < h.at THEN d.due_at ELSE d.fair_at END
FROM due d CROSS JOIN horizon h
WHERE w.tenant_id = d.tenant_id AND w.channel_id = d.channel_id
RETURNING w.tenant_id, w.channel_id, w.expected_s, w.heard_at, w.silent_since
"""  # noqa: S608

_NAMES = """
SELECT c.id, t.slug, d.name, c.code, c.kind, c.commodity
FROM unnest(%s::bigint[], %s::bigint[]) AS k (tenant_id, channel_id)
JOIN ingest_channel c ON c.tenant_id = k.tenant_id AND c.id = k.channel_id
JOIN ingest_device d ON d.tenant_id = c.tenant_id AND d.id = c.device_id
JOIN tenants_tenant t ON t.id = c.tenant_id
"""


class _Turn(NamedTuple):
    """A channel that fell silent, or was heard again."""

    tenant_id: int
    channel_id: int
    expected_s: int
    heard_at: datetime | None
    silent_since: datetime | None


class Swept(NamedTuple):
    """What a step of the sweep did."""

    #: Called silent, or given a whole interval anew.
    channels: int
    deliveries: int


def hear(lane: Connection[Any], offers: Offers, now: datetime) -> list[Event]:
    """
    Note which watched channels a batch heard; return the news of those once silent.

    A reading without a value is no sign of life: somebody else says that it is missing.
    """
    watched = offers.directory.watched
    if not watched:
        return []
    heard: dict[tuple[int, int], datetime] = {}
    for offer in offers.rows:
        if offer.channel_id in watched and offer.value is not None:
            claim = offers.outcomes[offer.owner - 1].claim
            key = (claim.tenant_id, offer.channel_id)
            heard[key] = max(heard.get(key, claim.received_at), claim.received_at)
    if not heard:
        return []
    keys = sorted(heard)
    rows = lane.execute(
        _HEAR,
        {
            "tenants": [tenant_id for tenant_id, _ in keys],
            "channels": [channel_id for _, channel_id in keys],
            "heard": [heard[key] for key in keys],
        },
    ).fetchall()
    return _news(lane, [_Turn(*row) for row in rows], "heard", now)


def find_silent(lane: Connection[Any], limit: int = MOST_AT_ONCE) -> Swept:
    """
    Tell of the channels that are overdue the longest, in the lane's transaction.

    Returns: no channel where none is left, or another sweep is under way.
    """
    pause_s = max(PAUSE_S, PAUSE_SWEEPS * settings.SWEEP_INTERVAL_S)
    begun = lane.execute(_BEGIN, [pause_s]).fetchone()
    if begun is None:
        return Swept(0, 0)
    awake_since, now = begun
    rows = lane.execute(FIND, {"limit": limit, "awake_since": awake_since}).fetchall()
    turns = [_Turn(*row) for row in rows]
    silent = [turn for turn in turns if turn.silent_since is not None]
    with lane.cursor() as cursor:
        told = publish(cursor, _news(lane, silent, "silent", now))
    return Swept(len(turns), told)


def _news(
    lane: Connection[Any], turns: Sequence[_Turn], status: str, now: datetime
) -> list[Event]:
    if not turns:
        return []
    names = _names(lane, turns)
    return [
        _event(turn, status, names[turn.channel_id], now)
        for turn in turns
        if turn.channel_id in names
    ]


def _names(
    lane: Connection[Any], turns: Iterable[_Turn]
) -> dict[int, tuple[str, str, str, str, str]]:
    pairs = ((one.tenant_id, one.channel_id) for one in turns)
    tenants, channels = zip(*pairs, strict=True)
    rows = lane.execute(_NAMES, [list(tenants), list(channels)]).fetchall()
    return {row[0]: row[1:] for row in rows}


def _event(
    turn: _Turn, status: str, names: tuple[str, str, str, str, str], now: datetime
) -> Event:
    slug, device, code, kind, commodity = names
    return Event(
        tenant_id=turn.tenant_id,
        tenant_slug=slug,
        event_type="device.silent",
        data={
            "device": device,
            "channel": code,
            "kind": kind,
            "commodity": commodity,
            "status": status,
            "expected_interval_s": turn.expected_s,
            "last_heard_at": instant(turn.heard_at) if turn.heard_at else None,
            "silent_since": instant(turn.silent_since) if turn.silent_since else None,
        },
        occurred_at=now,
        subjects=lambda: (Subject(device, code, commodity),),
    )
