"""
Asking receivers for consent: claim (commit), ask, record.

The moment a claim moves `consent_due_at` to is its fencing token: whoever asks anew
meanwhile makes the late answer count for nothing.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings

from subscriptions.consent import Answer, Asked, Step, ask, lease_s, origin
from subscriptions.consent_rules import (
    RENEWED_AT,
    Decision,
    Lease,
    Question,
    Standing,
    decide,
)
from subscriptions.services.destinations import Destination, load, plain_request
from subscriptions.services.tokens import make_due
from tenants.database import Cursor, pipeline
from tenants.identifiers import new_id, public_id
from tenants.mail import mail_admins
from tenants.services import record_own_audit

log = logging.getLogger(__name__)

#: Endpoints that are asked at once.
BATCH = 50
#: Two requests, each with its own deadline, and a margin.
LEASE_S = 60
_DETAIL_CHARACTERS = 500


@dataclass(frozen=True)
class _Claim:
    """An endpoint that this worker asks, at one or both of its URLs."""

    tenant_id: int
    endpoint_id: UUID
    due_at: datetime
    rate_per_min: int | None
    standing: Standing


@dataclass(frozen=True)
class _Asking:
    """One question of a claim, and where it goes."""

    claim: _Claim
    question: Question
    destination: Destination

    def asked(self) -> Asked:
        """Return what is asked."""
        base = f"{settings.CONSOLE_URL}/api/v1/endpoints"
        return Asked(
            plain_request(self.destination, method="OPTIONS"),
            f"{base}/{public_id('ep', self.claim.endpoint_id)}/",
            self.claim.rate_per_min,
            has_token=self.destination.token is not None,
        )


def ask_consent() -> int:
    """Ask the receivers that are due; return how many have consented."""
    askings = _claim()
    if not askings:
        return 0
    answers = ask([asking.asked() for asking in askings], origin=origin())
    told: dict[UUID, list[tuple[_Asking, Answer]]] = {}
    for asking, answer in zip(askings, answers, strict=True):
        told.setdefault(asking.claim.endpoint_id, []).append((asking, answer))
    for mine in told.values():
        # Each by itself: a row that somebody holds keeps no other answer waiting.
        with pipeline() as lane, lane.cursor() as cursor:
            _record(cursor, mine)
    return sum(answer.has_consented for answer in answers)


def _claim() -> list[_Asking]:
    with pipeline() as lane, lane.cursor() as cursor:
        claims = [_read(row) for row in _claim_rows(cursor)]
        by_id = {claim.endpoint_id: claim for claim in claims}
        current = load(cursor, by_id.keys())
        proposed = load(cursor, by_id.keys(), is_proposed=True)
    return [
        _Asking(
            claim, question, (proposed if question == Question.MOVE else current)[key]
        )
        for key, claim in by_id.items()
        for question in claim.standing.questions()
    ]


def _claim_rows(cursor: Cursor) -> list[Any]:
    # By index endpoint_consent_due. One that needs a bearer token is asked once it has
    # one, or when its lease is over.
    cursor.execute(
        """UPDATE subscriptions_endpoint e
        SET consent_due_at = clock_timestamp() + %s * interval '1 s',
            consent_step = e.consent_step + 1
        FROM (SELECT id FROM subscriptions_endpoint
            WHERE consent_due_at <= now() AND deleted_at IS NULL
                AND status IN ('pending', 'active')
                AND (oauth2_token_url = '' OR oauth2_expires_at > now()
                    OR consent_expires_at <= now())
            ORDER BY consent_due_at LIMIT %s FOR UPDATE SKIP LOCKED) due
        WHERE e.id = due.id
        RETURNING e.tenant_id, e.id, e.consent_due_at, e.max_rate_per_min,
            e.status = 'active', e.proposed_url <> '', e.consent_step,
            coalesce(e.consent_expires_at - %s * interval '1 s' <= now(), false),
            coalesce(e.consent_expires_at <= now(), false)""",
        [LEASE_S, BATCH, (1 - RENEWED_AT) * lease_s()],
    )
    return cursor.fetchall()


def _read(row: Sequence[Any]) -> _Claim:
    tenant_id, endpoint_id, due_at, rate_per_min, *standing = row
    return _Claim(tenant_id, endpoint_id, due_at, rate_per_min, Standing(*standing))


def _record(cursor: Cursor, told: Sequence[tuple[_Asking, Answer]]) -> None:
    claim = told[0][0].claim
    answers = {asking.question: answer for asking, answer in told}
    decision = decide(claim.standing, answers)
    row = _write(cursor, claim, decision)
    if row is None:
        log.warning("Late consent of %s refused.", public_id("ep", claim.endpoint_id))
        return
    if any(answer.is_token_refused for _, answer in told):
        make_due(cursor, [claim.endpoint_id])
    for asking, answer in told:
        _write_steps(cursor, claim, asking.destination.url, answer.steps)
    first = told[0][0].destination.url
    if decision.step:
        last = Step(decision.step, None, decision.detail)
        _write_steps(cursor, claim, first, [last])
    _tell(cursor, claim, decision, in_force=row[0], asked=first)


# The token is the moment to which the claim moved `consent_due_at`.
_DECIDE = """
UPDATE subscriptions_endpoint e
SET url = CASE WHEN %(moved)s THEN e.proposed_url ELSE e.url END,
    proposed_url = CASE WHEN %(moved)s OR %(given_up)s THEN ''
        ELSE e.proposed_url END,
    status = %(status)s::text, status_detail = %(detail)s,
    consented_at = CASE %(lease)s::text WHEN 'new' THEN now()
        WHEN 'kept' THEN e.consented_at END,
    consent_expires_at = CASE %(lease)s::text WHEN 'new' THEN now() + l.whole
        WHEN 'kept' THEN e.consent_expires_at END,
    allowed_rate_per_min = CASE WHEN %(lease)s::text = 'kept' OR %(rate_kept)s
        THEN e.allowed_rate_per_min ELSE %(rate)s::int END,
    consent_step = CASE WHEN %(anew)s THEN 0 ELSE e.consent_step END,
    consent_due_at = least(now() + %(pause_s)s::float8 * interval '1 s',
        CASE %(lease)s::text WHEN 'new' THEN now() + l.before_renewal
            WHEN 'kept' THEN e.consent_expires_at - CASE WHEN %(renewing)s
                THEN interval '0' ELSE l.whole - l.before_renewal END END)
FROM (SELECT %(lease_s)s * interval '1 s' AS whole,
    %(lease_s)s * %(renewed_at)s::float8 * interval '1 s' AS before_renewal) l
WHERE e.id = %(id)s AND e.consent_due_at = %(due_at)s
    AND e.status IN ('pending', 'active')
    AND (e.proposed_url <> '' OR NOT %(moved)s)
RETURNING e.url
"""

# A URL that takes another's place begins with a clean record of health.
_BEGIN_ANEW = """
UPDATE subscriptions_endpoint SET failing_since = NULL, failing_warned = 0,
    breaker = 'closed', breaker_trips = 0, hold_until = NULL, hold_reason = ''
WHERE id = %(id)s
"""

# A time without a consent is none of failures; what waited for it is worked off at a
# bounded rate.
_LET_FLOW = """
UPDATE subscriptions_endpoint SET failing_since = NULL, failing_warned = 0,
    draining_since = now()
WHERE id = %(id)s
"""


def _write(cursor: Cursor, claim: _Claim, decision: Decision) -> Any:
    """Return the URL that is in force now; None: it was asked anew meanwhile."""
    values = {
        "moved": decision.is_moved,
        "given_up": decision.is_proposal_over,
        "status": "active" if decision.is_active else "pending",
        "detail": decision.detail[:_DETAIL_CHARACTERS],
        "lease": decision.lease.value,
        "rate": decision.rate_per_min,
        "rate_kept": decision.is_rate_kept,
        "anew": decision.is_anew,
        "pause_s": decision.pause_s,
        "renewing": decision.is_renewal_asked,
        "lease_s": lease_s(),
        "renewed_at": RENEWED_AT,
        "id": claim.endpoint_id,
        "due_at": claim.due_at,
    }
    is_regained = decision.lease == Lease.NEW and not claim.standing.has_consented
    cursor.execute(_DECIDE, values)
    row = cursor.fetchone()
    if row is not None and decision.is_moved:
        cursor.execute(_BEGIN_ANEW, values)
    if row is not None and is_regained:
        cursor.execute(_LET_FLOW, values)
    return row


def _write_steps(
    cursor: Cursor, claim: _Claim, url: str, steps: Sequence[Step]
) -> None:
    # By the real clock, so that the steps of one handshake stand in their order.
    cursor.execute(
        """INSERT INTO subscriptions_consentstep
            (id, tenant_id, endpoint_id, url, step, status_code, detail, at)
        SELECT r.id, %s, %s, %s, r.step, r.status_code, r.detail, clock_timestamp()
        FROM unnest(%s::uuid[], %s::text[], %s::smallint[], %s::text[])
            AS r(id, step, status_code, detail)""",
        [
            claim.tenant_id,
            claim.endpoint_id,
            url,
            [new_id() for _ in steps],
            [step.name for step in steps],
            [step.status_code for step in steps],
            [step.detail[:_DETAIL_CHARACTERS] for step in steps],
        ],
    )


def _tell(
    cursor: Cursor, claim: _Claim, decision: Decision, *, in_force: str, asked: str
) -> None:
    """Write down what an admin should find, and send word of a consent that ended."""
    url = in_force
    is_lost = claim.standing.has_consented and decision.lease == Lease.NONE
    if is_lost:
        action = f"consent_{decision.step}"
    elif decision.is_moved:
        action = "url_changed"
    elif decision.is_proposal_over:
        action, url = "url_given_up", asked
    else:
        return
    endpoint = public_id("ep", claim.endpoint_id)
    record_own_audit(
        cursor,
        tenant_id=claim.tenant_id,
        action=f"endpoint.{action}",
        subject=endpoint,
        detail={"url": url, "reason": decision.detail},
    )
    if is_lost:
        mail_admins(
            cursor,
            tenant_id=claim.tenant_id,
            subject=f"{endpoint} no longer consents: its messages wait",
            text=f"{decision.detail}\n\nURL: {url}\nEndpoint: "
            f"{settings.CONSOLE_URL}/admin/subscriptions/endpoint/{claim.endpoint_id}"
            "/change/\n\nAsk for consent there once the receiver is ready.",
        )
