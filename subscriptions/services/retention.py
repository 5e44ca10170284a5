"""
Forgetting what is past its retention, in steps that nobody notices.

First what devices old messages were about, then deliveries with their attempts, then
the messages that no delivery needs; a few thousand rows a transaction, in the order of
a primary key. What waits to be delivered stays with its message, however old it is.
Source: docs/explanation/retention.md
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings

from subscriptions.services.walks import DEVICES
from tenants.database import pipeline
from tenants.identifiers import created_at, first_id

#: Rows that one transaction forgets at most: some tens of milliseconds.
STEP = 2_000
#: Devices that one transaction looks at, and old messages that it forgets of each.
DEVICE_STEP = 200
DEVICE_MESSAGES = 50
#: Seconds of a turn.
TURN_S = 2.0
#: A delivery's id is drawn after its message's, for one publication.
_TOGETHER = timedelta(hours=1)
_FIRST = UUID(int=0)

#: One probe of a primary key for each tenant.
_TENANTS = """
SELECT t.id FROM tenants_tenant t WHERE EXISTS (
    SELECT FROM subscriptions_message m WHERE m.tenant_id = t.id AND m.id < %(before)s)
    OR EXISTS (SELECT FROM subscriptions_delivery d
        WHERE d.tenant_id = t.id AND d.id < %(before)s)
ORDER BY t.id
"""

# Ids are of the workers' clocks, `created_at` is of the database's: a row goes when it
# is old by both. Read by the keys (ARRAY), whatever the statistics say.
_DELIVERIES = """
WITH old AS MATERIALIZED (
    SELECT id FROM subscriptions_delivery
    WHERE tenant_id = %(tenant)s AND id > %(after)s AND id < %(before)s
    ORDER BY id LIMIT %(step)s
), forgotten AS MATERIALIZED (
    DELETE FROM subscriptions_delivery
    WHERE tenant_id = %(tenant)s AND id = ANY (ARRAY(SELECT id FROM old))
        AND status <> 'pending' AND created_at < %(kept_from)s
    RETURNING id
), attempts AS (
    DELETE FROM subscriptions_attempt
    WHERE tenant_id = %(tenant)s
        AND delivery_id = ANY (ARRAY(SELECT id FROM forgotten))
)
SELECT (SELECT count(*) FROM forgotten), (SELECT count(*) FROM old),
    (SELECT id FROM old ORDER BY id DESC LIMIT 1)
"""

_OLD_MESSAGES = """
SELECT id FROM subscriptions_message
WHERE tenant_id = %(tenant)s AND id > %(after)s AND id < %(before)s
ORDER BY id LIMIT %(step)s
"""
#: Of a stretch of ids the deliveries that are left are those that still need theirs.
_MESSAGES = """
DELETE FROM subscriptions_message
WHERE tenant_id = %(tenant)s AND created_at < %(kept_from)s AND id = ANY (ARRAY(
    SELECT unnest(%(old)s::uuid[]) EXCEPT SELECT message_id FROM subscriptions_delivery
    WHERE tenant_id = %(tenant)s AND id >= %(first)s AND id < %(last)s))
"""

#: The old messages of each device by the key, as the devices.
#: Such rows are never changed, so their places stand for them.
_DEVICES = f"""{DEVICES}, listed AS MATERIALIZED (
    SELECT device FROM device LIMIT %(devices)s
), old AS MATERIALIZED (
    SELECT one.device, m.place FROM listed one CROSS JOIN LATERAL (
        SELECT ctid AS place FROM subscriptions_messagedevice
        WHERE tenant_id = %(tenant)s AND device = one.device
            AND message_id < %(before)s
        ORDER BY message_id LIMIT %(messages)s) m
), forgotten AS (
    DELETE FROM subscriptions_messagedevice
    WHERE ctid = ANY (ARRAY(SELECT place FROM old))
)
SELECT (SELECT count(*) FROM listed), (SELECT max(device) FROM listed),
    EXISTS (SELECT FROM old GROUP BY device HAVING count(*) = %(messages)s)
"""  # noqa: S608 (own text)

#: What is written rarely: one statement for all tenants, by the primary key. Ended: the
#: table's own word for what nobody waits for any more.
_RARE = {
    "subscriptions_consentstep": "at < %(kept_from)s",
    "subscriptions_maintenancewindow": "end_at < %(kept_from)s",
    "subscriptions_portallink": "expires_at < %(kept_from)s",
    "subscriptions_redelivery": "status <> 'running'",
    "subscriptions_manifest": "end_at < %(kept_from)s",
}

#: What this process left off in the middle of: the next turn goes on there, so that no
#: tenant waits for another's to be looked at again and again.
_underway: list[Iterator[int]] = []


class Forgotten(NamedTuple):
    """What a turn of forgetting did."""

    #: Messages and deliveries.
    rows: int
    #: Whether nothing is left that is past its retention.
    is_done: bool


@dataclass(frozen=True)
class _Reach:
    """What is old: by id, and by the database's clock."""

    kept_from: datetime

    def values(self, **others: Any) -> dict[str, Any]:
        """Return what every statement asks for."""
        before = first_id(self.kept_from)
        return {"kept_from": self.kept_from, "before": before, "step": STEP, **others}


def forget_messages(*, now: datetime, seconds: float = TURN_S) -> Forgotten:
    """Forget what is past GRIDHOOK_MESSAGE_RETENTION_DAYS, for so long at most."""
    reach = _Reach(now - timedelta(days=settings.MESSAGE_RETENTION_DAYS))
    work = _underway.pop() if _underway else _everything(reach)
    end_s = monotonic() + seconds
    count = 0
    for forgotten in work:
        count += forgotten
        if monotonic() > end_s:
            _underway.append(work)
            return Forgotten(count, is_done=False)
    return Forgotten(count, is_done=True)


def _everything(reach: _Reach) -> Iterator[int]:
    """Forget step by step; yield how many rows each one forgot."""
    with pipeline() as lane:
        found = lane.execute(_TENANTS, reach.values()).fetchall()
    for (tenant_id,) in found:
        yield from _of_devices(tenant_id, reach)
        yield from _deliveries(tenant_id, reach)
        yield from _messages(tenant_id, reach)
    for table, ended in _RARE.items():
        yield _rare(table, ended, reach)


def _of_devices(tenant_id: int, reach: _Reach) -> Iterator[int]:
    after: str | None = ""
    while after is not None:
        values = reach.values(
            tenant=tenant_id,
            after=after,
            devices=DEVICE_STEP,
            messages=DEVICE_MESSAGES,
        )
        with pipeline() as lane:
            row = lane.execute(_DEVICES, values).fetchone()
        seen, last, is_more = row or (0, None, False)
        yield 0
        if not is_more:
            after = last if seen == DEVICE_STEP else None


def _deliveries(tenant_id: int, reach: _Reach) -> Iterator[int]:
    after: UUID | None = _FIRST
    while after is not None:
        values = reach.values(tenant=tenant_id, after=after)
        with pipeline() as lane:
            row = lane.execute(_DELIVERIES, values).fetchone()
        forgotten, seen, last = row or (0, 0, None)
        yield forgotten
        after = last if seen == STEP else None


def _messages(tenant_id: int, reach: _Reach) -> Iterator[int]:
    after: UUID | None = _FIRST
    while after is not None:
        values = reach.values(tenant=tenant_id, after=after)
        with pipeline() as lane:
            old = [one for (one,) in lane.execute(_OLD_MESSAGES, values).fetchall()]
            if not old:
                return
            theirs = {
                **values,
                "old": old,
                "first": first_id(created_at(old[0])),
                "last": first_id(created_at(old[-1]) + _TOGETHER),
            }
            forgotten = lane.execute(_MESSAGES, theirs).rowcount
        yield forgotten
        after = old[-1] if len(old) == STEP else None


def _rare(table: str, ended: str, reach: _Reach) -> int:
    with pipeline() as lane:
        lane.execute(
            f"""DELETE FROM {table} WHERE {ended} AND id IN (
                SELECT id FROM {table} WHERE id < %(before)s
                ORDER BY id LIMIT %(step)s)""",  # noqa: S608 (own text)
            reach.values(),
        )
    return 0
