"""
Asking receivers for consent: claim (commit), ask, record.

The moment a claim moves `consent_due_at` to is its fencing token: whoever asks anew
meanwhile makes the late answer count for nothing.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings

from subscriptions.consent import Answer, Asked, ask, origin
from tenants.database import pipeline
from tenants.identifiers import public_id

log = logging.getLogger(__name__)

#: Endpoints that are asked at once.
BATCH = 50
#: Two requests, each with its own deadline, and a margin.
LEASE_S = 60
#: Pauses after an answer that is no consent; then only by hand.
SCHEDULE_S = (30, 120, 600, *[3600] * 24)
_DETAIL_CHARACTERS = 500


@dataclass(frozen=True)
class _Claim:
    endpoint_id: UUID
    url: str
    step: int
    due_at: datetime


def ask_consent() -> int:
    """Ask the receivers that are due; return how many have consented."""
    claims = _claim()
    if not claims:
        return 0
    base = f"{settings.CONSOLE_URL}/api/v1/endpoints"
    asked = [
        Asked(claim.url, f"{base}/{public_id('ep', claim.endpoint_id)}/")
        for claim in claims
    ]
    answers = ask(asked, origin=origin())
    _record(claims, answers)
    return sum(answer.has_consented for answer in answers)


def _claim() -> list[_Claim]:
    # By index endpoint_consent_due.
    with pipeline() as lane:
        rows = lane.execute(
            """UPDATE subscriptions_endpoint e
            SET consent_due_at = clock_timestamp() + %s * interval '1 s',
                consent_step = e.consent_step + 1
            FROM (SELECT id FROM subscriptions_endpoint
                WHERE consent_due_at <= now() AND deleted_at IS NULL
                    AND status IN ('pending', 'active')
                ORDER BY consent_due_at LIMIT %s FOR UPDATE SKIP LOCKED) due
            WHERE e.id = due.id
            RETURNING e.id, e.url, e.consent_step, e.consent_due_at""",
            [LEASE_S, BATCH],
        ).fetchall()
    return [_Claim(*row) for row in rows]


def _record(claims: Sequence[_Claim], answers: Sequence[Answer]) -> None:
    with pipeline() as lane:
        # An endpoint that has consented once stays active when it is asked again.
        recorded = lane.execute(
            """UPDATE subscriptions_endpoint e
            SET status = CASE WHEN r.yes THEN 'active' ELSE e.status END,
                status_detail = r.detail,
                consented_at = CASE WHEN r.yes THEN now() ELSE e.consented_at END,
                allowed_rate_per_min =
                    CASE WHEN r.yes THEN r.rate ELSE e.allowed_rate_per_min END,
                consent_due_at = CASE WHEN e.status = 'pending' AND NOT r.yes
                    THEN now() + r.pause_s * interval '1 s' END
            FROM unnest(%s::uuid[], %s::timestamptz[], %s::bool[], %s::int[],
                %s::text[], %s::int[]) AS r(id, due_at, yes, rate, detail, pause_s)
            WHERE e.id = r.id AND e.consent_due_at = r.due_at
                AND e.status IN ('pending', 'active')
            RETURNING e.id""",
            [
                [claim.endpoint_id for claim in claims],
                [claim.due_at for claim in claims],
                [answer.has_consented for answer in answers],
                [answer.rate_per_min for answer in answers],
                [answer.detail[:_DETAIL_CHARACTERS] for answer in answers],
                [_pause_s(claim.step) for claim in claims],
            ],
        ).fetchall()
    late = {claim.endpoint_id for claim in claims} - {row[0] for row in recorded}
    for endpoint_id in late:
        log.warning("Late consent of %s refused.", public_id("ep", endpoint_id))


def _pause_s(step: int) -> int | None:
    """Return the pause after the n-th question; None: it was the last."""
    return SCHEDULE_S[step - 1] if step <= len(SCHEDULE_S) else None
