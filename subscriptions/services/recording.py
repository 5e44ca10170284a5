"""
Writing down what came of attempts, unless the claim was lost meanwhile.

A result counts only under the fencing token of the claim that is in force: a worker
that comes back after its lease ended changes no delivery. Its attempt is kept, for it
was made.
"""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings

from subscriptions.http import Outcome
from subscriptions.retries import pause_s, retry_after_s
from subscriptions.services.claims import Claimed, join_by_index
from subscriptions.services.publishing import Event, publish
from tenants.database import Cursor, pipeline
from tenants.identifiers import new_id, public_id

log = logging.getLogger(__name__)

#: An endpoint that has done nothing but fail for this long is disabled.
DISABLE_AFTER_FAILING_S = 5 * 86_400
_GONE = 410
#: Statuses whose `Retry-After` is heeded.
_THROTTLED = {429, 503}


@dataclass(frozen=True)
class Result:
    """A claim and what came of it."""

    claimed: Claimed
    outcome: Outcome

    @property
    def is_gone(self) -> bool:
        """Whether the receiver wants no message ever again."""
        return not self.outcome.error and self.outcome.status_code == _GONE

    @property
    def error(self) -> str:
        """The attempt's error code; empty: it succeeded."""
        if self.outcome.is_success:
            return ""
        return self.outcome.error or "http_error"

    @property
    def detail(self) -> str:
        """The error in words."""
        if self.error == "http_error":
            return f"The server answered {self.outcome.status_code}."
        return self.outcome.detail


def verdict(result: Result) -> tuple[str, float]:
    """Return the delivery's next status and, while it is pending, the wait."""
    if result.outcome.is_success:
        return "delivered", 0.0
    if result.is_gone:
        # The endpoint is disabled; the message waits with it.
        return "pending", 0.0
    pause = pause_s(result.claimed.step, settings.RETRY_SCHEDULE_S)
    if pause is None:
        return "dead", 0.0
    return "pending", max(pause, _asked_for_s(result))


def _asked_for_s(result: Result) -> float:
    if result.outcome.status_code not in _THROTTLED:
        return 0.0
    header = result.outcome.headers.get("retry-after", "")
    return retry_after_s(header, now_s=result.claimed.now_s())


def record(results: Sequence[Result]) -> None:
    """Write the attempts, the deliveries' next states and the endpoints' health."""
    # Endpoints before deliveries, and these in order: so do the services that stop an
    # endpoint, and nobody waits for the other in a circle.
    results = sorted(results, key=lambda result: result.claimed.delivery_id)
    with pipeline() as lane, lane.cursor() as cursor:
        join_by_index(cursor)
        _note_health(cursor, results)
        _disable(cursor, results)
        in_force = _update_deliveries(cursor, results)
        _insert_attempts(cursor, results)
    for result in results:
        if result.claimed.delivery_id not in in_force:
            log.warning(
                "Late result of delivery %s refused: its lease had ended.",
                public_id("dlv", result.claimed.delivery_id),
            )


def _update_deliveries(cursor: Cursor, results: Sequence[Result]) -> set[UUID]:
    verdicts = [verdict(result) for result in results]
    claims = [result.claimed for result in results]
    # Whatever else ends a delivery clears its claim_id, so the token alone decides.
    cursor.execute(
        """UPDATE subscriptions_delivery d
        SET status = r.status, claim_id = NULL,
            next_attempt_at = now() + r.wait_s * interval '1 s',
            last_status_code = r.status_code, last_error = r.error,
            finished_at = CASE WHEN r.status <> 'pending' THEN now() END
        FROM unnest(%s::bigint[], %s::uuid[], %s::uuid[], %s::text[], %s::float8[],
            %s::smallint[], %s::text[])
            AS r(tenant_id, id, claim_id, status, wait_s, status_code, error)
        WHERE d.tenant_id = r.tenant_id AND d.id = r.id
            AND d.claim_id = r.claim_id
        RETURNING d.id""",
        [
            [claim.tenant_id for claim in claims],
            [claim.delivery_id for claim in claims],
            [claim.claim_id for claim in claims],
            [status for status, _ in verdicts],
            [wait_s for _, wait_s in verdicts],
            [result.outcome.status_code for result in results],
            [result.error for result in results],
        ],
    )
    return {delivery_id for (delivery_id,) in cursor.fetchall()}


def _insert_attempts(cursor: Cursor, results: Sequence[Result]) -> None:
    now = time.monotonic()
    rows = [_attempt(result, now) for result in results]
    # started_at by the database's clock: now, less how long ago it was.
    cursor.execute(
        """INSERT INTO subscriptions_attempt (tenant_id, id, delivery_id, number,
            started_at, duration_ms, status_code, error, error_detail, address,
            response_excerpt)
        SELECT r.tenant_id, r.id, r.delivery_id, r.number,
            now() - r.ago_s * interval '1 s', r.duration_ms, r.status_code, r.error,
            r.detail, r.address, r.excerpt
        FROM unnest(%s::bigint[], %s::uuid[], %s::uuid[], %s::int[], %s::float8[],
            %s::int[], %s::smallint[], %s::text[], %s::text[], %s::text[], %s::bytea[])
            AS r(tenant_id, id, delivery_id, number, ago_s, duration_ms, status_code,
            error, detail, address, excerpt)""",
        [list(column) for column in zip(*rows, strict=True)],
    )


def _attempt(result: Result, now: float) -> tuple[Any, ...]:
    claimed, outcome = result.claimed, result.outcome
    return (
        claimed.tenant_id,
        new_id(),
        claimed.delivery_id,
        claimed.attempt,
        now - outcome.started,
        round(outcome.duration_s * 1000),
        outcome.status_code,
        result.error,
        result.detail,
        outcome.address,
        outcome.body[: settings.RESPONSE_EXCERPT_BYTES],
    )


def _note_health(cursor: Cursor, results: Sequence[Result]) -> None:
    healthy: dict[UUID, bool] = {}
    for result in results:
        endpoint_id = result.claimed.endpoint_id
        is_well = result.outcome.is_success
        healthy[endpoint_id] = healthy.get(endpoint_id, False) or is_well
    # Writes on a change alone; locks in one order, so that workers cannot deadlock.
    cursor.execute(
        """WITH seen AS (
            SELECT * FROM unnest(%s::uuid[], %s::bool[]) AS s(id, is_well)
        ), changed AS (
            SELECT e.id FROM subscriptions_endpoint e JOIN seen USING (id)
            WHERE seen.is_well = (e.failing_since IS NOT NULL)
            ORDER BY e.id FOR UPDATE OF e
        )
        UPDATE subscriptions_endpoint e
        SET failing_since = CASE WHEN seen.is_well THEN NULL ELSE now() END
        FROM changed JOIN seen USING (id) WHERE e.id = changed.id""",
        [list(healthy.keys()), list(healthy.values())],
    )


def _disable(cursor: Cursor, results: Sequence[Result]) -> None:
    gone = {result.claimed.endpoint_id for result in results if result.is_gone}
    failed = {result.claimed.endpoint_id for result in results if result.error}
    if not failed:
        return
    days = DISABLE_AFTER_FAILING_S // 86_400
    cursor.execute(
        """UPDATE subscriptions_endpoint e
        SET status = 'disabled', status_detail = CASE WHEN e.id = ANY(%(gone)s::uuid[])
            THEN 'The server answered 410 (gone).' ELSE %(failing)s END
        WHERE e.status = 'active' AND (e.id = ANY(%(gone)s::uuid[])
            OR e.id = ANY(%(failed)s::uuid[])
                AND e.failing_since < now() - %(limit_s)s::float8 * interval '1 s')
        RETURNING e.tenant_id, e.id, e.url, e.status_detail, now(),
            (SELECT slug FROM tenants_tenant t WHERE t.id = e.tenant_id)""",
        {
            "gone": list(gone),
            "failed": list(failed),
            "failing": f"Every attempt failed for {days} days.",
            "limit_s": DISABLE_AFTER_FAILING_S,
        },
    )
    for row in cursor.fetchall():
        _tell_disabled(cursor, row)


def _tell_disabled(cursor: Cursor, row: Sequence[Any]) -> None:
    tenant_id, endpoint_id, url, reason, now, slug = row
    endpoint = public_id("ep", endpoint_id)
    cursor.execute(
        """INSERT INTO tenants_auditentry
            (id, tenant_id, actor, action, subject, detail)
        VALUES (%s, %s, 'gridhook', 'endpoint.disabled', %s, %s::jsonb)""",
        [new_id(), tenant_id, endpoint, json.dumps({"reason": reason})],
    )
    data = {"endpoint": endpoint, "url": url, "reason": reason}
    event = Event(
        tenant_id, slug, "endpoint.disabled", data, now, but_endpoint_id=endpoint_id
    )
    publish(cursor, [event])
