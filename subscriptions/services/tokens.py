"""
Bearer tokens for endpoints, by OAuth 2 client credentials: claim (commit), ask, record.

The moment a claim moves `oauth2_due_at` to is its fencing token. A token is renewed
when most of its life is over; trouble with it spends no attempt of a delivery, for
none is claimed without a token. Source: docs/explanation/delivery.md
"""

import base64
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote_plus, urlencode
from uuid import UUID

import msgspec

from subscriptions.http import Outcome, Request, send_all
from subscriptions.sealing import Sealer
from tenants.database import Cursor, columns, pipeline
from tenants.identifiers import public_id
from tenants.vault import SealBroken

log = logging.getLogger(__name__)

#: Endpoints whose token is asked for at once.
BATCH = 50
#: One request with its deadline, and a margin.
LEASE_S = 60
#: A receiver's 401 has a token renewed at most this often.
RENEW_PAUSE_S = 30
#: Pauses after an answer without a token; the last again and again. Lives and pauses
#: are floats all: psycopg writes no column of whole numbers and others.
SCHEDULE_S = (30.0, 60.0, 120.0, 240.0, 480.0, 600.0)
LIFE_DEFAULT_S = 300.0
LIFE_LIMIT_S = 86_400.0
#: Nothing is sent with a token that has not so long to live.
LIFE_LEAST_S = 10
#: The share of its life after which a token is renewed.
RENEWED_AT = 0.8
_TOKEN_CHARACTERS = 8192
_DETAIL_CHARACTERS = 500
#: The codes of RFC 6749 and RFC 8707: whatever else a server says may be the secret
#: that it was shown.
_CODES = frozenset(
    {
        *("invalid_request", "invalid_client", "invalid_grant", "invalid_scope"),
        *("invalid_target", "unauthorized_client", "unsupported_grant_type"),
        *("access_denied", "server_error", "temporarily_unavailable"),
    }
)


class _Reply(msgspec.Struct):
    """RFC 6749's answer, as far as it matters."""

    access_token: str
    token_type: str
    expires_in: float | None = None


class _Refusal(msgspec.Struct):
    error: str


_REPLY = msgspec.json.Decoder(_Reply, strict=False)
_REFUSAL = msgspec.json.Decoder(_Refusal)


class _Row(NamedTuple):
    tenant_id: int
    endpoint_id: UUID
    due_at: datetime
    step: int
    token_url: str
    client_id: str
    scope: str
    sealed_secret: bytes


@dataclass(frozen=True)
class Answer:
    """A token and how long it lives, or why there is none."""

    token: str = field(default="", repr=False)
    life_s: float = 0.0
    error: str = ""


def fetch_tokens() -> int:
    """Ask for the tokens that are due; return how many came."""
    claims = _claim()
    askable = {row: secret for row in claims if (secret := _secret(row))}
    outcomes = send_all([_request(row, secret) for row, secret in askable.items()])
    answers = {
        row: read(outcome) for row, outcome in zip(askable, outcomes, strict=True)
    }
    unusable = Answer(error="The client's secret does not open: a key is missing.")
    if claims:
        _record([(row, answers.get(row, unusable)) for row in claims])
    return sum(bool(answer.token) for answer in answers.values())


def make_due(cursor: Cursor, endpoint_ids: Collection[UUID]) -> None:
    """Have the tokens of these endpoints renewed: their receivers answered 401."""
    if not endpoint_ids:
        return
    # Not while one is on its way, not while the token server refuses, and not again
    # and again for a receiver that takes none. Who is told of a 401 may hold other
    # endpoints' rows: one that somebody else holds is left to the next 401.
    cursor.execute(
        """UPDATE subscriptions_endpoint e SET oauth2_due_at = now()
        FROM (SELECT id FROM subscriptions_endpoint
            WHERE id = ANY(%s::uuid[]) AND oauth2_token_url <> ''
                AND oauth2_error = ''
                AND oauth2_asked_at < now() - %s * interval '1 s'
            FOR UPDATE SKIP LOCKED) stale
        WHERE e.id = stale.id""",
        [list(endpoint_ids), RENEW_PAUSE_S],
    )


def _claim() -> list[_Row]:
    # By index endpoint_token_due.
    with pipeline() as lane:
        rows = lane.execute(
            """UPDATE subscriptions_endpoint e
            SET oauth2_due_at = clock_timestamp() + %s * interval '1 s',
                oauth2_asked_at = now(), oauth2_step = e.oauth2_step + 1
            FROM (SELECT id FROM subscriptions_endpoint
                WHERE oauth2_due_at <= now() AND deleted_at IS NULL
                    AND status IN ('pending', 'active') AND oauth2_token_url <> ''
                ORDER BY oauth2_due_at LIMIT %s FOR UPDATE SKIP LOCKED) due
            WHERE e.id = due.id
            RETURNING e.tenant_id, e.id, e.oauth2_due_at, e.oauth2_step,
                e.oauth2_token_url, e.oauth2_client_id, e.oauth2_scope,
                e.sealed_oauth2_secret""",
            [LEASE_S, BATCH],
        ).fetchall()
    return [_Row(*row) for row in rows]


def _secret(row: _Row) -> str:
    """Return the client's secret; empty: it does not open."""
    try:
        return Sealer(row.tenant_id, row.endpoint_id).open_oauth2_secret(
            row.sealed_secret
        )
    except SealBroken:
        return ""


def _request(row: _Row, secret: str) -> Request:
    fields = {"grant_type": "client_credentials"}
    if row.scope:
        fields["scope"] = row.scope
    # RFC 6749, 2.3.1: each of the two is encoded as in a form, then both in base64.
    pair = f"{quote_plus(row.client_id)}:{quote_plus(secret)}"
    return Request(
        row.token_url,
        headers=(
            "Content-Type: application/x-www-form-urlencoded",
            f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}",
        ),
        body=urlencode(fields).encode(),
    )


def read(outcome: Outcome) -> Answer:
    """Return the token that a token server answered with, or why there is none."""
    if outcome.error:
        words = outcome.detail.rstrip(".")
        return Answer(error=f"No answer ({outcome.error}: {words}).")
    if not outcome.is_success:
        return Answer(error=f"Answered {outcome.status_code}{_named(outcome.body)}.")
    try:
        reply = _REPLY.decode(outcome.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Answer(error="Answered 2xx without a token as RFC 6749 writes it.")
    token = reply.access_token
    if not _is_visible(token) or not 0 < len(token) <= _TOKEN_CHARACTERS:
        return Answer(error="The token is empty, too long, or no visible ASCII.")
    if reply.token_type.lower() != "bearer":
        return Answer(error="The token is of another type than Bearer.")
    life_s = LIFE_DEFAULT_S if reply.expires_in is None else reply.expires_in
    if not life_s > LIFE_LEAST_S:
        return Answer(
            error=f"The token lives {LIFE_LEAST_S} s or less (expires_in): too short."
        )
    return Answer(token, min(life_s, LIFE_LIMIT_S))


def _named(body: bytes) -> str:
    """Return the error's code in words, if it is one."""
    try:
        code = _REFUSAL.decode(body).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    return f" ({code})" if code in _CODES else ""


def _is_visible(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _record(told: Sequence[tuple[_Row, Answer]]) -> None:
    with pipeline() as lane:
        # The old token stays in use while it lives and no other came. Rows are locked
        # in one order, as by all who lock several.
        recorded = lane.execute(
            """WITH r AS (
                SELECT * FROM unnest(%s::uuid[], %s::timestamptz[], %s::bytea[],
                    %s::float8[], %s::float8[], %s::text[])
                    AS r(id, due_at, token, life_s, pause_s, error)
            ), held AS (
                SELECT e.id FROM subscriptions_endpoint e JOIN r USING (id)
                WHERE e.oauth2_due_at = r.due_at ORDER BY e.id FOR UPDATE OF e
            )
            UPDATE subscriptions_endpoint e
            SET sealed_oauth2_token = coalesce(r.token, e.sealed_oauth2_token),
                oauth2_expires_at = coalesce(
                    e.oauth2_asked_at + r.life_s * interval '1 s',
                    e.oauth2_expires_at),
                oauth2_due_at = now() + r.pause_s * interval '1 s',
                oauth2_step = CASE WHEN r.token IS NULL THEN e.oauth2_step ELSE 0 END,
                oauth2_error = r.error
            FROM held JOIN r USING (id)
            WHERE e.id = held.id
            RETURNING e.id""",
            columns([_written(one) for one in told]),
        ).fetchall()
    late = {row.endpoint_id for row, _ in told} - {row[0] for row in recorded}
    for endpoint_id in late:
        log.warning("Late token of %s refused.", public_id("ep", endpoint_id))


def _written(told: tuple[_Row, Answer]) -> tuple[Any, ...]:
    row, answer = told
    if answer.token:
        sealer = Sealer(row.tenant_id, row.endpoint_id)
        token, life_s = sealer.oauth2_token(answer.token), answer.life_s
        pause_s = life_s * RENEWED_AT
    else:
        token, life_s, pause_s = None, None, pause_after_s(row.step)
    error = answer.error[:_DETAIL_CHARACTERS]
    return row.endpoint_id, row.due_at, token, life_s, pause_s, error


def pause_after_s(step: int) -> float:
    """Return the pause after the n-th question in vain."""
    return SCHEDULE_S[min(step, len(SCHEDULE_S)) - 1]
