"""
Sending many messages again: what was given up, or what was sent before.

A redelivery is a row. A worker makes the next messages of it due, a few at a time and
spaced by its rate, and writes down in the same transaction how far it came: one that
dies loses nothing and repeats nothing. It waits while nothing is sent to its endpoint,
so that what it makes due never piles up there beyond its rate.
Source: docs/how-to/recover-what-was-missed.md
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction

from subscriptions.models import (
    Endpoint,
    Redelivery,
    RedeliveryKind,
    RedeliveryStatus,
)
from subscriptions.queries.redeliveries import CLOCK_MARGIN, count_to_redeliver
from subscriptions.services.endpoints.rows import locked
from subscriptions.services.requeueing import requeue
from tenants.actors import Actor
from tenants.database import Cursor, join_by_index, pipeline
from tenants.doorbell import ring, ring_after_commit
from tenants.identifiers import first_id, public_id
from tenants.models import Tenant
from tenants.problems import Conflict, NotFound, Problem
from tenants.services import RateInvalid, record_audit, record_own_audit

#: How far back a recovery looks when nobody says.
RECOVER_DEFAULT = timedelta(days=7)
RATE_DEFAULT_PER_S = 100
RATE_LIMIT_PER_S = 10_000
#: Messages that one transaction looks at.
STEP = 1_000
#: How far ahead messages are made due, and when it is time for more: the difference is
#: longer than the pause between two sweeps.
_AHEAD_S = 15
_LOW_S = 8
#: Seconds after which a turn makes room for others.
TURN_S = 2.0


class PeriodOutOfReach(Problem):
    """The period has no length, or begins before what is kept."""

    code = "period_out_of_reach"
    title = "The period is out of reach"


class RedeliveryRunning(Conflict):
    """One of this kind is under way to the endpoint."""

    code = "redelivery_running"


class RedeliveryUnknown(NotFound):
    """There is no such redelivery."""

    code = "redelivery_unknown"


class RedeliveryEnded(Conflict):
    """It has ended already."""

    code = "redelivery_ended"


def recover(
    *,
    tenant: Tenant,
    actor: Actor,
    endpoint: Endpoint,
    since: datetime,
    now: datetime,
    rate_per_s: int = RATE_DEFAULT_PER_S,
) -> Redelivery:
    """
    Send what was given up since then again; its schedule begins anew.

    With nothing to send it is completed at once: what is yet to come has nothing.
    Raises: PeriodOutOfReach, RateInvalid, RedeliveryRunning, EndpointUnknown.
    """
    wanted = Redelivery(
        kind=RedeliveryKind.RECOVER,
        since=min(since, now),
        until=now,
        rate_per_s=rate_per_s,
    )
    return _start(tenant, actor, endpoint, wanted, now)


def replay(  # noqa: PLR0913 (keyword-only; each is the caller's own choice)
    *,
    tenant: Tenant,
    actor: Actor,
    endpoint: Endpoint,
    device: str,
    since: datetime,
    until: datetime,
    now: datetime,
    rate_per_s: int = RATE_DEFAULT_PER_S,
) -> Redelivery:
    """
    Send the messages about a device again, exactly as then: same ids, same bytes.

    `device`: empty: of every device, and those about none. The period is that in which
    they were published. What still waits is not sent twice; what a person discarded
    stays so.
    Raises: PeriodOutOfReach, RateInvalid, RedeliveryRunning, EndpointUnknown.
    """
    wanted = Redelivery(
        kind=RedeliveryKind.REPLAY,
        device=device,
        since=since,
        until=min(until, now),
        rate_per_s=rate_per_s,
    )
    return _start(tenant, actor, endpoint, wanted, now)


@transaction.atomic
def _start(
    tenant: Tenant, actor: Actor, endpoint: Endpoint, wanted: Redelivery, now: datetime
) -> Redelivery:
    _check(wanted, now)
    wanted.tenant = tenant
    wanted.endpoint = endpoint
    wanted.created_by = actor.name
    # Before the lock: it may take seconds, and recorders wait for the endpoint's row.
    wanted.total = count_to_redeliver(wanted)
    current = locked(tenant, endpoint)
    if not wanted.total:
        wanted.status, wanted.finished_at = RedeliveryStatus.COMPLETED, now
    try:
        with transaction.atomic():
            wanted.save(force_insert=True)
    except IntegrityError as error:
        raise RedeliveryRunning(
            f"A {wanted.kind} to this endpoint is under way: wait for its end, or "
            "cancel it."
        ) from error
    record_audit(
        actor=actor,
        action=f"endpoint.{wanted.kind}_started",
        subject=current.public_id,
        detail={
            "redelivery": wanted.public_id,
            "device": wanted.device,
            "since": wanted.since.isoformat(),
            "until": wanted.until.isoformat(),
            "messages": wanted.total,
        },
    )
    ring_after_commit("subscriptions.redeliver")
    wanted.refresh_from_db()
    return wanted


def _check(wanted: Redelivery, now: datetime) -> None:
    days = settings.MESSAGE_RETENTION_DAYS
    first = now - timedelta(days=days)
    if wanted.since < first:
        raise PeriodOutOfReach(
            f"since: messages are kept for {days} days, since {first:%Y-%m-%d}."
        )
    if wanted.kind == RedeliveryKind.REPLAY and wanted.since >= wanted.until:
        raise PeriodOutOfReach("The period ends before it begins, or is yet to come.")
    if not 1 <= wanted.rate_per_s <= RATE_LIMIT_PER_S:
        raise RateInvalid(f"The rate is from 1 to {RATE_LIMIT_PER_S} a second.")


@transaction.atomic
def cancel_redelivery(
    *, tenant: Tenant, actor: Actor, redelivery: Redelivery, now: datetime
) -> Redelivery:
    """
    End it where it stands; what it made due already is still sent.

    Raises: RedeliveryUnknown, RedeliveryEnded.
    """
    mine = Redelivery.objects.filter(tenant=tenant, pk=redelivery.pk)
    current = mine.select_for_update().first()
    if current is None:
        raise RedeliveryUnknown("There is no such redelivery.")
    if current.status != RedeliveryStatus.RUNNING:
        raise RedeliveryEnded(f"It is {current.status} already.")
    mine.update(status=RedeliveryStatus.CANCELLED, finished_at=now)
    record_audit(
        actor=actor,
        action="redelivery.cancelled",
        subject=current.public_id,
        detail={"done": current.done, "total": current.total},
    )
    current.refresh_from_db()
    return current


def redeliver() -> bool:
    """
    Make the next messages of every redelivery due, as far as its rate allows.

    Returns whether the turn ended before the work did.
    """
    end_s = monotonic() + TURN_S
    made_due = 0
    while (step := _step()) is not None:
        made_due += step
        if monotonic() > end_s:
            break
    if made_due:
        ring("subscriptions.deliver")
    return step is not None


@dataclass(frozen=True)
class _Run:
    """A redelivery that this worker holds until its transaction ends."""

    id: UUID
    tenant_id: int
    endpoint_id: UUID
    kind: str
    device: str
    since: datetime
    until: datetime
    rate_per_s: int
    cursor: UUID | None
    #: When the first of the next messages is due, and how many of them may be now.
    starts_at: datetime
    room: int
    is_orphan: bool

    def values(self) -> dict[str, Any]:
        """Return what the picking statements ask for."""
        return {
            "tenant": self.tenant_id,
            "endpoint": self.endpoint_id,
            "device": self.device,
            "since": self.since,
            "until": self.until,
            "after": self.cursor or first_id(self.since - CLOCK_MARGIN),
            "before": first_id(self.until + CLOCK_MARGIN),
            "limit": self.room,
        }


# By index redelivery_running: the one that is behind the most, of those that a rate
# still allows something. Others that a worker holds are passed over.
_TAKE = """
SELECT r.id, r.tenant_id, r.endpoint_id, r.kind, r.device, r.since, r.until,
    r.rate_per_s, r.cursor, greatest(r.rate_used_until, now()) AS starts_at,
    least(%(step)s, ceil(r.rate_per_s * extract(epoch FROM
        now() + %(ahead_s)s * interval '1 s' - greatest(r.rate_used_until, now())
    )))::int AS room,
    e.deleted_at IS NOT NULL
FROM subscriptions_redelivery r
JOIN subscriptions_endpoint e ON e.id = r.endpoint_id AND e.tenant_id = r.tenant_id
WHERE r.status = 'running'
    AND r.rate_used_until < now() + %(low_s)s * interval '1 s'
    AND (e.deleted_at IS NOT NULL OR e.status = 'active'
        AND (e.hold_until IS NULL OR e.hold_until <= now())
        AND NOT EXISTS (SELECT FROM subscriptions_maintenancewindow m
            WHERE m.endpoint_id = e.id AND m.closed_at IS NULL AND m.start_at <= now()))
ORDER BY r.rate_used_until LIMIT 1 FOR UPDATE OF r SKIP LOCKED
"""

#: The next messages by kind, and whether each is to be sent. What is recovered leaves
#: index delivery_dead by that, so the next step finds others there.
_PICK = {
    "recover": """
SELECT id, message_id, true FROM subscriptions_delivery
WHERE tenant_id = %(tenant)s AND endpoint_id = %(endpoint)s AND status = 'dead'
    AND finished_at >= %(since)s AND finished_at < %(until)s
ORDER BY finished_at LIMIT %(limit)s
""",
    # By index delivery_once.
    "replay": """
SELECT id, message_id, created_at >= %(since)s AND created_at < %(until)s
FROM subscriptions_delivery
WHERE tenant_id = %(tenant)s AND endpoint_id = %(endpoint)s
    AND message_id > %(after)s AND message_id < %(before)s
ORDER BY message_id LIMIT %(limit)s
""",
    # By the key of messagedevice, then by index delivery_once.
    "replay of a device": """
SELECT d.id, m.message_id,
    coalesce(d.created_at >= %(since)s AND d.created_at < %(until)s, false)
FROM (
    SELECT message_id FROM subscriptions_messagedevice
    WHERE tenant_id = %(tenant)s AND device = %(device)s
        AND message_id > %(after)s AND message_id < %(before)s
    ORDER BY message_id LIMIT %(limit)s) m
LEFT JOIN subscriptions_delivery d ON d.tenant_id = %(tenant)s
    AND d.endpoint_id = %(endpoint)s AND d.message_id = m.message_id
ORDER BY m.message_id
""",
}


def _step() -> int | None:
    """Work one redelivery off a little; return how many are due now; None: nothing."""
    with pipeline() as lane, lane.cursor() as cursor:
        cursor.execute(_TAKE, {"step": STEP, "ahead_s": _AHEAD_S, "low_s": _LOW_S})
        row = cursor.fetchone()
        if row is None:
            return None
        run = _Run(*row)
        if run.is_orphan:
            _note(cursor, run, 0, None, RedeliveryStatus.CANCELLED)
            return 0
        picked = _pick(cursor, run)
        due = [delivery_id for delivery_id, _, is_wanted in picked if is_wanted]
        sent = requeue(
            cursor,
            tenant_id=run.tenant_id,
            delivery_ids=due,
            starts_at=run.starts_at,
            rate_per_s=run.rate_per_s,
        )
        is_last = len(picked) < run.room
        status = RedeliveryStatus.COMPLETED if is_last else RedeliveryStatus.RUNNING
        _note(cursor, run, sent, picked[-1][1] if picked else None, status)
        return sent


def _pick(cursor: Cursor, run: _Run) -> Sequence[Any]:
    join_by_index(cursor)
    of_device = " of a device" if run.kind == "replay" and run.device else ""
    cursor.execute(_PICK[run.kind + of_device], run.values())
    return cursor.fetchall()


# One statement: a second one would have the row's keys checked anew, and wait for the
# endpoint's row, while who has that to start another redelivery waits for this one.
_NOTE = """
UPDATE subscriptions_redelivery SET done = done + %(sent)s::int,
    cursor = coalesce(%(last)s, cursor),
    rate_used_until = %(starts_at)s + %(used_s)s * interval '1 s',
    status = %(status)s::text,
    finished_at = CASE WHEN %(status)s::text <> 'running' THEN now() END
WHERE id = %(id)s RETURNING done, total
"""


def _note(
    cursor: Cursor, run: _Run, sent: int, last: UUID | None, status: RedeliveryStatus
) -> None:
    """Write down how far it came, and whether that is its end."""
    cursor.execute(
        _NOTE,
        {
            "sent": sent,
            "last": last,
            "starts_at": run.starts_at,
            "used_s": sent / run.rate_per_s,
            "status": str(status),
            "id": run.id,
        },
    )
    done, total = cursor.fetchone()
    if status == RedeliveryStatus.RUNNING:
        return
    record_own_audit(
        cursor,
        tenant_id=run.tenant_id,
        action=f"redelivery.{status}",
        subject=public_id("rd", run.id),
        detail={"done": done, "total": total},
    )
