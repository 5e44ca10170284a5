"""
Marking how endpoints stand, and telling of it: failing, held, spared, given up.

Rows are read and locked only where something changes, in one order, before any
delivery is: so do the services that stop an endpoint, and nobody waits in a circle.
Source: docs/explanation/delivery.md
"""

from collections.abc import Sequence
from typing import Any

from django.conf import settings

from subscriptions.breaking import GONE, PATIENCE, Health, Seen, after
from subscriptions.events import Event
from subscriptions.services.delivering.arrays import texts, truths, uuids
from subscriptions.services.publishing import publish
from tenants.database import Cursor
from tenants.identifiers import new_id, public_id
from tenants.mail import mail_admins
from tenants.services import record_own_audit

#: Warnings begin at half of the patience: before that, one mark is enough.
_QUIET = PATIENCE / 2


def mark_health(cursor: Cursor, seen: Sequence[Seen]) -> None:
    """Write what was seen of endpoints into their rows, and tell who is to know."""
    by_target = {(one.endpoint_id, one.url): one for one in seen}
    for before in _changing(cursor, seen):
        one = by_target[before.endpoint_id, before.url]
        now = after(before, one, settings.RETRY_SCHEDULE_S)
        if now == before:
            continue
        _write(cursor, now)
        if now.is_disabled and not before.is_disabled:
            _tell_disabled(cursor, now)
            if now.status_detail == GONE:
                _withdraw_consent(cursor, now)
        elif now.failing_warned > before.failing_warned:
            _tell_failing(cursor, now)
        elif _has_recovered(before, now):
            data = {**_about(now), "failing_since": before.failing_since}
            _publish(cursor, now, "endpoint.recovered", data)


def _changing(cursor: Cursor, seen: Sequence[Seen]) -> list[Health]:
    # What came from a URL that the endpoint has no more is none of its health; one that
    # was deleted has none.
    cursor.execute(
        """SELECT e.id, e.tenant_id, t.slug, e.url, now(), e.status, e.status_detail,
            e.failing_since, e.failing_warned, e.breaker, e.breaker_trips,
            e.hold_until, e.hold_reason, (
                SELECT a.started_at FROM subscriptions_attempt a
                WHERE a.tenant_id = e.tenant_id AND a.endpoint_id = e.id
                ORDER BY a.started_at DESC LIMIT 1)
        FROM unnest(%s::uuid[], %s::text[], %s::bool[], %s::bool[])
            AS seen(id, url, is_well, is_marked)
        JOIN subscriptions_endpoint e USING (id)
        JOIN tenants_tenant t ON t.id = e.tenant_id
        WHERE e.url = seen.url AND e.deleted_at IS NULL
            AND (seen.is_marked OR seen.is_well = (e.failing_since IS NOT NULL)
                OR e.failing_since < now() - %s::interval)
        ORDER BY e.id FOR UPDATE OF e""",
        [
            uuids(one.endpoint_id for one in seen),
            texts(one.url for one in seen),
            truths(one.is_well for one in seen),
            truths(one.is_marked for one in seen),
            _QUIET,
        ],
    )
    return [Health(*row) for row in cursor.fetchall()]


def _has_recovered(before: Health, now: Health) -> bool:
    is_warning_over = before.failing_warned > 0 and now.failing_since is None
    return is_warning_over or (before.breaker != "closed" and now.breaker == "closed")


def _write(cursor: Cursor, now: Health) -> None:
    cursor.execute(
        """UPDATE subscriptions_endpoint SET status = %s, status_detail = %s,
            failing_since = %s, failing_warned = %s, breaker = %s, breaker_trips = %s,
            hold_until = %s, hold_reason = %s
        WHERE id = %s""",
        [
            now.status,
            now.status_detail,
            now.failing_since,
            now.failing_warned,
            now.breaker,
            now.breaker_trips,
            now.hold_until,
            now.hold_reason,
            now.endpoint_id,
        ],
    )


def _withdraw_consent(cursor: Cursor, health: Health) -> None:
    # Whoever resumes it asks the URL that was to follow, if there is one.
    cursor.execute(
        """UPDATE subscriptions_endpoint SET consented_at = NULL,
            consent_expires_at = NULL, consent_due_at = NULL, consent_step = 0,
            allowed_rate_per_min = NULL, proposed_url = '',
            url = coalesce(nullif(proposed_url, ''), url)
        WHERE id = %s""",
        [health.endpoint_id],
    )
    cursor.execute(
        """INSERT INTO subscriptions_consentstep
            (id, tenant_id, endpoint_id, url, step, status_code, detail)
        VALUES (%s, %s, %s, %s, 'withdrawn', 410, %s)""",
        [new_id(), health.tenant_id, health.endpoint_id, health.url, GONE],
    )


def _tell_disabled(cursor: Cursor, health: Health) -> None:
    reason = health.status_detail
    record_own_audit(
        cursor,
        tenant_id=health.tenant_id,
        action="endpoint.disabled",
        subject=public_id("ep", health.endpoint_id),
        detail={"reason": reason},
    )
    _publish(cursor, health, "endpoint.disabled", {**_about(health), "reason": reason})
    _mail(
        cursor,
        health,
        f"{health.url} was disabled",
        f"{reason} Nothing more is sent to it; its messages wait. Once its server is "
        "well again, resume the endpoint, and what waits is sent.",
    )


def _tell_failing(cursor: Cursor, health: Health) -> None:
    since = health.failing_since or health.now
    disabled_at = since + PATIENCE
    data = {
        **_about(health),
        "failing_since": since,
        "percent": health.failing_warned,
        "disabled_at": disabled_at,
    }
    _publish(cursor, health, "endpoint.failing", data)
    _mail(
        cursor,
        health,
        f"{health.url} keeps failing",
        f"Every attempt has failed since {since:%Y-%m-%d %H:%M} UTC. If none succeeds "
        f"by {disabled_at:%Y-%m-%d %H:%M} UTC, the endpoint is disabled; its messages "
        "wait then.",
    )


def _about(health: Health) -> dict[str, Any]:
    return {"endpoint": public_id("ep", health.endpoint_id), "url": health.url}


def _publish(
    cursor: Cursor, health: Health, event_type: str, data: dict[str, Any]
) -> None:
    event = Event(
        health.tenant_id,
        health.tenant_slug,
        event_type,
        data,
        health.now,
        but_endpoint_id=health.endpoint_id,
    )
    publish(cursor, [event])


def _mail(cursor: Cursor, health: Health, subject: str, text: str) -> None:
    endpoint = public_id("ep", health.endpoint_id)
    mail_admins(
        cursor,
        tenant_id=health.tenant_id,
        subject=subject,
        text=f"{text}\n\nCallback URL: {health.url}\nEndpoint: {endpoint}\n",
    )
