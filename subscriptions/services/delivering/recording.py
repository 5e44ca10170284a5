"""
Writing down what came of attempts, unless the claim was lost meanwhile.

A result counts only under the fencing token of the claim that is in force: a worker
that comes back after its lease ended changes no delivery. Its attempt is kept, for it
was made.
"""

import logging
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings

from subscriptions.batches import Verdict
from subscriptions.breaking import Seen
from subscriptions.http import Outcome
from subscriptions.masking import hidden, hidden_bytes
from subscriptions.models import Lane
from subscriptions.retries import pause_s, retry_after_s
from subscriptions.services.delivering.arrays import blobs, numbers, texts, uuids, words
from subscriptions.services.delivering.claims import Claimed, keys_of
from subscriptions.services.delivering.health_marks import mark_health
from subscriptions.services.ordering import release
from subscriptions.services.tokens import make_due
from tenants.database import Cursor, join_by_index, pipeline
from tenants.identifiers import new_id, public_id

log = logging.getLogger(__name__)

#: Of the response's head, what the attempt log keeps.
HEAD_CHARACTERS = 1024
#: From this attempt on a delivery queues with the late ones.
LATE_STEP = 3
_GONE = 410
_UNAUTHORIZED = 401
#: Statuses whose `Retry-After` is heeded.
THROTTLED = frozenset({429, 503})
_LATE = Lane.LATE.value


@dataclass(frozen=True, slots=True)
class Result:
    """A claim and what came of it."""

    claimed: Claimed
    outcome: Outcome
    #: The `webhook-timestamp` that was signed; None: nothing was sent.
    signed_at_s: int | None = None
    #: The `webhook-id` of the batch that it went with; None: it went alone.
    batch_id: UUID | None = None
    #: What the receiver said of this one of a batch.
    item: Verdict | None = None
    #: How far back the evidence goes that opens the endpoint's breaker.
    evidence_s: float | None = None

    @property
    def is_success(self) -> bool:
        """Whether the receiver took the message."""
        if not self.outcome.is_success:
            return False
        return self.item is None or self.item.is_accepted

    @property
    def status_code(self) -> int | None:
        """The answer's status, or the one that it has for this message."""
        if self.item is not None and self.outcome.is_success:
            return self.item.status_code
        return self.outcome.status_code

    @property
    def is_gone(self) -> bool:
        """Whether the receiver wants no message ever again."""
        return not self.outcome.error and self.outcome.status_code == _GONE

    @property
    def is_unknown(self) -> bool:
        """Whether the receiver did not take the bearer token that it was shown."""
        is_refused = self.outcome.status_code == _UNAUTHORIZED
        return is_refused and self.claimed.destination.token is not None

    @property
    def error(self) -> str:
        """The attempt's error code; empty: it succeeded."""
        if self.is_success:
            return ""
        return self.outcome.error or "http_error"

    @property
    def detail(self) -> str:
        """The error in words."""
        if self.is_success or self.error != "http_error":
            return self.outcome.detail
        if self.item is not None and self.item.detail:
            return self.item.detail
        return f"The server answered {self.status_code}."

    def asked_for_s(self) -> float:
        """Return how long the receiver asks to be left alone; 0: it does not."""
        outcome = self.outcome
        if outcome.error or outcome.status_code not in THROTTLED:
            return 0.0
        header = outcome.headers.get("retry-after", "")
        return retry_after_s(header, now_s=self.claimed.now_s())


def verdict(result: Result) -> tuple[str, float]:
    """Return the delivery's next status and, while it is pending, the wait."""
    if result.is_success:
        return "delivered", 0.0
    if result.is_gone:
        # The endpoint is disabled; the message waits with it.
        return "pending", 0.0
    pause = pause_s(result.claimed.step, settings.RETRY_SCHEDULE_S)
    if pause is None:
        return "dead", 0.0
    return "pending", max(pause, result.asked_for_s())


def record(results: Sequence[Result]) -> None:
    """Write the attempts, the deliveries' next states and the endpoints' health."""
    # Endpoints before deliveries, and these in order: so do the services that stop an
    # endpoint, and nobody waits for the other in a circle.
    results = sorted(results, key=lambda result: result.claimed.delivery_id)
    with pipeline() as lane, lane.cursor(binary=True) as cursor:
        join_by_index(cursor)
        mark_health(cursor, _seen(results))
        make_due(cursor, {one.claimed.endpoint_id for one in results if one.is_unknown})
        in_force = _update_deliveries(cursor, results)
        _insert_attempts(cursor, results)
    for result in results:
        if result.claimed.delivery_id not in in_force:
            log.warning(
                "Late result of delivery %s refused: its lease had ended.",
                public_id("dlv", result.claimed.delivery_id),
            )


def _seen(results: Iterable[Result]) -> list[Seen]:
    by_target: dict[tuple[UUID, str], list[Result]] = {}
    for result in results:
        claimed = result.claimed
        target = claimed.endpoint_id, claimed.destination.url
        by_target.setdefault(target, []).append(result)
    return [_seen_of(target, mine) for target, mine in by_target.items()]


def _seen_of(target: tuple[UUID, str], results: Sequence[Result]) -> Seen:
    failed = [result for result in results if not result.outcome.is_success]
    if not failed and not any(result.claimed.is_probe for result in results):
        return Seen(*target, is_well=True)
    probes = [one.outcome.is_success for one in results if one.claimed.is_probe]
    evidence = [one.evidence_s for one in failed if one.evidence_s is not None]
    return Seen(
        *target,
        is_well=len(failed) < len(results),
        is_gone=any(one.is_gone for one in failed),
        hold_s=max((one.asked_for_s() for one in failed), default=0.0),
        evidence_s=max(evidence, default=None),
        probe=all(probes) if probes else None,
    )


def _update_deliveries(cursor: Cursor, results: Sequence[Result]) -> Collection[UUID]:
    verdicts = [verdict(result) for result in results]
    claims = [result.claimed for result in results]
    # Whatever else ends a delivery clears its claim_id, so the token alone decides.
    cursor.execute(
        """UPDATE subscriptions_delivery d
        SET status = r.status, claim_id = NULL, leased_until = NULL,
            next_attempt_at = now() + r.wait_s * interval '1 s', lane = r.lane,
            last_status_code = r.status_code, last_error = r.error,
            finished_at = CASE WHEN r.status <> 'pending' THEN now() END
        FROM unnest(%s::bigint[], %s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[],
            %s::text[], %s::float8[], %s::smallint[], %s::smallint[], %s::text[])
            AS r(tenant_id, id, endpoint_id, message_id, claim_id, status, wait_s, lane,
                status_code, error)
        WHERE d.tenant_id = r.tenant_id AND d.id = r.id AND d.claim_id = r.claim_id
            AND d.endpoint_id = r.endpoint_id AND d.message_id = r.message_id
        RETURNING d.id""",
        [
            *keys_of(claims),
            words(status for status, _ in verdicts),
            numbers(wait_s for _, wait_s in verdicts),
            numbers(_lane(claim) for claim in claims),
            numbers(result.status_code for result in results),
            words(result.error for result in results),
        ],
    )
    in_force = {delivery_id for (delivery_id,) in cursor.fetchall()}
    ended = [
        (claim.tenant_id, claim.delivery_id)
        for claim, (status, _) in zip(claims, verdicts, strict=True)
        if claim.is_ordered and status != "pending" and claim.delivery_id in in_force
    ]
    if ended:
        release(cursor, ended)
    return in_force


def _lane(claimed: Claimed) -> int:
    return _LATE if claimed.step >= LATE_STEP else claimed.lane


def _insert_attempts(cursor: Cursor, results: Sequence[Result]) -> None:
    now = time.monotonic()
    columns = zip(*(_attempt(result, now) for result in results), strict=True)
    tenants, ids, deliveries, counts, *rest = map(list, columns)
    endpoints, batches, ago_s, durations, statuses, signed_at_s, errors, *rest = rest
    # started_at by the database's clock: now, less how long ago it was.
    cursor.execute(
        """INSERT INTO subscriptions_attempt (tenant_id, id, delivery_id, number,
            endpoint_id, batch_id, started_at, duration_ms, status_code, signed_at_s,
            error, error_detail, url, address, http_version, response_headers,
            response_excerpt)
        SELECT r.tenant_id, r.id, r.delivery_id, r.number, r.endpoint_id, r.batch_id,
            now() - r.ago_s * interval '1 s', r.duration_ms, r.status_code,
            r.signed_at_s, r.error, r.detail, r.url, r.address, r.version, r.headers,
            r.excerpt
        FROM unnest(%s::bigint[], %s::uuid[], %s::uuid[], %s::int[], %s::uuid[],
            %s::uuid[], %s::float8[], %s::int[], %s::smallint[], %s::bigint[],
            %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
            %s::bytea[]) AS r(tenant_id, id, delivery_id, number, endpoint_id,
            batch_id, ago_s, duration_ms, status_code, signed_at_s, error, detail, url,
            address, version, headers, excerpt)""",
        [
            numbers(tenants),
            uuids(ids),
            uuids(deliveries),
            numbers(counts),
            uuids(endpoints),
            uuids(batches),
            numbers(ago_s),
            numbers(durations),
            numbers(statuses),
            numbers(signed_at_s),
            words(errors),
            *map(texts, rest[:-1]),
            blobs(rest[-1]),
        ],
    )


def _attempt(result: Result, now: float) -> tuple[Any, ...]:
    claimed, outcome = result.claimed, result.outcome
    # What was sent in confidence is hidden before anything is kept: by the time that
    # somebody looks, the endpoint may have other secrets.
    forms = claimed.destination.hidden_forms
    most_bytes = settings.RESPONSE_EXCERPT_BYTES
    return (
        claimed.tenant_id,
        new_id(),
        claimed.delivery_id,
        claimed.attempt,
        claimed.endpoint_id,
        result.batch_id,
        now - outcome.started,
        round(outcome.duration_s * 1000),
        result.status_code,
        result.signed_at_s,
        result.error,
        hidden(result.detail, forms),
        claimed.destination.url,
        outcome.address,
        outcome.http_version,
        hidden(outcome.head, forms)[:HEAD_CHARACTERS],
        hidden_bytes(outcome.body[:most_bytes], forms)[:most_bytes],
    )
