"""
The judge of deliveries: what was to be told, what receivers got, what the log says.

It knows the callbacks that were acknowledged (the client's ledger), everything that
came to the receivers (`tests.chaos.crowd`), and reads the database as its owner. It
verifies signatures with the standard library alone.
"""

import base64
import hashlib
import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

from tenants.identifiers import parse_public_id, public_id
from tests.chaos.crowd import TAKING, Arrival, Crowd
from tests.processes import Platform, Source

_WELL = range(200, 300)
#: Counts of a verdict that may be anything.
_HARMLESS = (
    "expected",
    "delivered",
    "dead",
    "attempts",
    "unlogged",
    "arrived",
    "duplicates",
)


@dataclass(frozen=True)
class Subscriber:
    """An endpoint as its receiver knows it: where, and with which secret."""

    public_id: str
    path: str
    secret: str

    @property
    def takes(self) -> bool:
        """Whether its kind lets every message through in the end."""
        return self.path.split("/")[1] in TAKING


@dataclass
class DeliveryVerdict:
    """What the judge found; every count after `duplicates` must be 0."""

    #: Each acknowledged callback's message, at each endpoint.
    expected: int = 0
    delivered: int = 0
    dead: int = 0
    #: Attempts in the log, and those that ended with their deliverer.
    attempts: int = 0
    unlogged: int = 0
    arrived: int = 0
    #: Arrivals of what had been answered with 2xx before.
    duplicates: int = 0
    #: Expected, and there is no such delivery.
    lost: int = 0
    unsettled: int = 0
    #: Delivered, says the log, and no receiver ever said yes.
    not_received: int = 0
    #: Delivered, and the log has no attempt that succeeded.
    unproven: int = 0
    #: Dead with fewer attempts than the schedule has.
    dead_too_soon: int = 0
    #: Dead although the receiver takes all, or delivered to one that takes nothing.
    misjudged: int = 0
    #: Ids at a receiver that were not expected there.
    strange: int = 0
    other_bytes: int = 0
    forged: int = 0

    @property
    def faults(self) -> dict[str, int]:
        """The counts that must be 0 and are not."""
        counts = {field.name: getattr(self, field.name) for field in fields(self)}
        return {k: v for k, v in counts.items() if v and k not in _HARMLESS}


@dataclass
class Evidence:
    """What there is to judge by."""

    platform: Platform
    source: Source
    crowd: Crowd
    subscribers: Collection[Subscriber]
    #: Receipts that the sender was told.
    receipts: Collection[str]
    #: Attempts after which a message is given up.
    patience: int


def judge_deliveries(evidence: Evidence) -> DeliveryVerdict:
    """Compare what was acknowledged, what arrived, and what the log says."""
    verdict = DeliveryVerdict()
    rows = _rows(evidence)
    messages = {row["message_id"]: bytes(row["body"]) for row in rows}
    wanted = _messages_of(evidence)
    verdict.expected = len(wanted) * len(evidence.subscribers)
    for one in evidence.subscribers:
        endpoint_id = parse_public_id("ep", one.public_id)
        mine = {
            row["message_id"]: row for row in rows if row["endpoint"] == endpoint_id
        }
        verdict.lost += len(wanted - mine.keys())
        for row in mine.values():
            _judge_delivery(verdict, evidence, one, row)
        _judge_arrivals(verdict, evidence.crowd, one, messages, mine)
    missing = len(evidence.receipts) - len(wanted)
    verdict.lost += missing * len(evidence.subscribers)
    return verdict


def _judge_delivery(
    verdict: DeliveryVerdict,
    evidence: Evidence,
    one: Subscriber,
    row: Mapping[str, Any],
) -> None:
    said = evidence.crowd.answers.get(_key(one, row["message_id"]), [])
    is_well = any(status in _WELL for status in said)
    status = row["status"]
    verdict.delivered += status == "delivered"
    verdict.dead += status == "dead"
    verdict.attempts += row["attempts"]
    verdict.unsettled += status not in {"delivered", "dead"}
    verdict.not_received += status == "delivered" and not is_well
    verdict.unproven += status == "delivered" and not row["successes"]
    verdict.dead_too_soon += (
        status == "dead" and row["attempt_count"] < evidence.patience
    )
    verdict.misjudged += (status == "dead") == one.takes
    verdict.unlogged += row["attempt_count"] - row["attempts"]


def _judge_arrivals(
    verdict: DeliveryVerdict,
    crowd: Crowd,
    one: Subscriber,
    messages: Mapping[UUID, bytes],
    mine: Mapping[UUID, Any],
) -> None:
    for (path, text), arrivals in list(crowd.arrivals.items()):
        if path != one.path:
            continue
        message_id = parse_public_id("msg", text)
        verdict.arrived += len(arrivals)
        verdict.strange += message_id not in mine
        verdict.other_bytes += sum(
            arrival.body != messages.get(message_id) for arrival in arrivals
        )
        verdict.forged += sum(not verifies(one.secret, each) for each in arrivals)
        said = crowd.answers.get((path, text), [])
        first = next((n for n, status in enumerate(said) if status in _WELL), None)
        verdict.duplicates += 0 if first is None else len(arrivals) - first - 1


def _key(one: Subscriber, message_id: UUID) -> tuple[str, str]:
    return one.path, public_id("msg", message_id)


def verifies(secret: str, arrival: Arrival) -> bool:
    """Check a Standard Webhooks signature with nothing but the standard library."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    headers = arrival.headers
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode()
    mac = hmac.new(key, signed + arrival.body, hashlib.sha256).digest()
    wanted = b"v1," + base64.b64encode(mac)
    return any(
        hmac.compare_digest(wanted, one.encode())
        for one in headers["webhook-signature"].split()
    )


def _messages_of(evidence: Evidence) -> set[UUID]:
    """Return the messages that tell of the acknowledged callbacks."""
    receipts = [parse_public_id("rcp", text) for text in evidence.receipts]
    rows = evidence.platform.rows(
        """SELECT m.id FROM subscriptions_message m
        JOIN tenants_tenant t ON t.id = m.tenant_id
        WHERE t.slug = %s AND m.receipt_id = ANY(%s)""",
        evidence.source.tenant,
        receipts,
    )
    return {message_id for (message_id,) in rows}


def _rows(evidence: Evidence) -> list[dict[str, Any]]:
    names = (
        "endpoint",
        "message_id",
        "status",
        "attempt_count",
        "attempts",
        "successes",
        "body",
    )
    rows = evidence.platform.rows(
        """SELECT d.endpoint_id, d.message_id, d.status, d.attempt_count,
            a.attempts, a.successes, coalesce(d.body, m.body)
        FROM subscriptions_delivery d
        JOIN subscriptions_message m
            ON m.tenant_id = d.tenant_id AND m.id = d.message_id
        JOIN tenants_tenant t ON t.id = d.tenant_id
        CROSS JOIN LATERAL (
            SELECT count(*) AS attempts, count(*) FILTER (WHERE error = '') AS successes
            FROM subscriptions_attempt
            WHERE tenant_id = d.tenant_id AND delivery_id = d.id) a
        WHERE t.slug = %s""",
        evidence.source.tenant,
    )
    return [dict(zip(names, row, strict=True)) for row in rows]
