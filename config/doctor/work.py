"""The work: sweeps on time, nothing that waits too long."""

from time import sleep
from typing import Any

from django.conf import settings
from psycopg import Connection

from config.doctor.database import one
from config.doctor.findings import Bounds, Finding, fail, ok, warn

#: Seconds that the oldest callback has waited for a worker.
WAITING_S = Bounds(warn=60, fail=600)
#: Seconds for which a message could have been sent and was not.
OVERDUE_S = Bounds(warn=60, fail=900)
#: Seconds after which the head of a moving queue has moved.
_LOOK_AGAIN_S = 1.0
#: Seconds that a mail has waited although there is a server.
_MAIL_WAITS_S = 3600
_SWEEPS_TO_WARN, _SWEEPS_TO_FAIL = 4, 12
#: Seconds of a sweep that came late for good reasons.
_GRACE_S = 10

_OLDEST = """
SELECT callback_id, extract(epoch FROM now() - received_at)::float
FROM ingest_pendingcallback ORDER BY callback_id LIMIT 1
"""

# Three short ranges of an index for each active endpoint that nothing holds back: what
# is due the longest in each lane.
_OVERDUE = """
SELECT extract(epoch FROM now() - min(d.next_attempt_at))::float
FROM subscriptions_endpoint e
CROSS JOIN generate_series(0, 2) AS l (lane)
CROSS JOIN LATERAL (
    SELECT next_attempt_at FROM subscriptions_delivery d
    WHERE d.tenant_id = e.tenant_id AND d.endpoint_id = e.id AND d.status = 'pending'
        AND d.lane = l.lane::smallint
    ORDER BY next_attempt_at LIMIT 1
) AS d
WHERE e.status = 'active' AND e.deleted_at IS NULL AND e.draining_since IS NULL
    AND (e.hold_until IS NULL OR e.hold_until < now())
    AND NOT EXISTS (SELECT FROM subscriptions_maintenancewindow w
        WHERE w.endpoint_id = e.id AND w.closed_at IS NULL AND w.start_at <= now())
"""

# The same index as the undelivered page's: the oldest dead messages of each endpoint.
_DEAD = """
SELECT count(*), extract(epoch FROM now() - min(d.finished_at))::float
FROM subscriptions_endpoint e CROSS JOIN LATERAL (
    SELECT finished_at FROM subscriptions_delivery d
    WHERE d.tenant_id = e.tenant_id AND d.endpoint_id = e.id AND d.status = 'dead'
    ORDER BY finished_at LIMIT 1000
) AS d
WHERE e.deleted_at IS NULL
"""

_MAILS = """
SELECT count(*) FILTER (WHERE status = 'waiting'),
    coalesce(extract(epoch FROM now()
        - min(created_at) FILTER (WHERE status = 'waiting')), 0)::float,
    count(*) FILTER (WHERE status = 'failed' AND finished_at > now() - interval '7 d')
FROM tenants_mail WHERE status <> 'sent'
"""

_SWEPT = """
SELECT extract(epoch FROM now() - max(swept_at))::float FROM ingest_silencesweep
"""


def check_sweeps(lane: Connection[Any]) -> Finding:
    """Tell whether beat, broker and a worker together still sweep."""
    age_s = one(lane, _SWEPT)
    if age_s is None:
        return fail(
            "work.sweeps", "nothing has ever swept", "Run `manage.py maintain`."
        )
    return judge_sweeps(age_s)


def judge_sweeps(age_s: float) -> Finding:
    """Judge how long ago the last sweep was."""
    every_s = settings.SWEEP_INTERVAL_S
    bounds = Bounds(
        _SWEEPS_TO_WARN * every_s + _GRACE_S, _SWEEPS_TO_FAIL * every_s + _GRACE_S
    )
    return bounds.judge(
        "work.sweeps",
        age_s,
        f"the last sweep {duration(age_s)} ago, due every {every_s} s",
        "Look whether beat, the broker and a worker of the queue `ingest` run.",
    )


def check_callbacks(lane: Connection[Any]) -> Finding:
    """Tell how long the oldest callback has waited, and whether it moves."""
    code = "work.callbacks"
    head = lane.execute(_OLDEST).fetchone()
    if head is None:
        return ok(code, "none waits")
    if head[1] >= WAITING_S.warn:
        # One that is processed again is old too, and gone in a moment.
        sleep(_LOOK_AGAIN_S)
        again = lane.execute(_OLDEST).fetchone()
        if again is None or again[0] != head[0]:
            return ok(code, "old ones wait, and are being processed")
    return WAITING_S.judge(
        code,
        head[1],
        f"the oldest has waited {duration(head[1])}",
        "Look whether workers of the queue `ingest` run and what their log says; "
        "start more with `up --workers N`.",
    )


def check_messages(lane: Connection[Any]) -> Finding:
    """Tell for how long the oldest message could have been sent."""
    overdue_s = one(lane, _OVERDUE)
    if overdue_s is None or overdue_s <= 0:
        return ok("work.messages", "none is due")
    return OVERDUE_S.judge(
        "work.messages",
        overdue_s,
        f"the oldest has been due for {duration(overdue_s)}",
        "Look whether a worker of the queue `deliver` runs, and whether an endpoint's "
        "own rate holds its messages back.",
    )


def check_dead(lane: Connection[Any]) -> Finding:
    """Tell whether messages were given up that nobody has dealt with."""
    count, age_s = lane.execute(_DEAD).fetchone() or (0, None)
    if not count:
        return ok("work.dead", "no message was given up")
    return warn(
        "work.dead",
        f"{count} messages were given up, the oldest {duration(age_s or 0)} ago",
        "The console's page *Undelivered* says to whom and why: recover or discard "
        "them.",
    )


def check_mails(lane: Connection[Any]) -> Finding:
    """Tell whether mails to admins go out."""
    code = "work.mails"
    waiting, age_s, failed = lane.execute(_MAILS).fetchone() or (0, 0.0, 0)
    if not settings.SMTP_URL:
        return warn(
            code,
            f"no mail server is set; {waiting} mails to admins wait",
            "Set GRIDHOOK_SMTP_URL and GRIDHOOK_MAIL_FROM. Until then admins learn of "
            "disabled endpoints in the console alone.",
        )
    if failed or age_s > _MAIL_WAITS_S:
        return warn(
            code,
            f"{waiting} wait, the oldest for {duration(age_s)}; {failed} were given up "
            "in 7 days",
            "See the worker's log for what the mail server says.",
        )
    return ok(code, f"{waiting} wait")


def duration(seconds: float) -> str:
    """Return seconds in the unit that says most."""
    for unit, length_s in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.1f} s"
