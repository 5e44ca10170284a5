"""
Delivering messages: claim (commit), send, record. No transaction is open meanwhile.

A worker that dies leaves its claims to their leases; each message then goes out again
under the same id. Source: docs/explanation/delivery.md
"""

import logging
import time
from collections import Counter
from uuid import UUID

import psycopg
from django.conf import settings

from subscriptions.consent import origin
from subscriptions.http import Driver, Outcome, Request
from subscriptions.services.claims import Claimed, cancel_orphans, claim
from subscriptions.services.recording import Result, record
from tenants.identifiers import public_id
from tenants.signing import hub_key, sign_hub, sign_standard, standard_key

log = logging.getLogger(__name__)

#: Requests that one worker has on their way.
IN_FLIGHT = 256
#: Room that is worth a claim of its own.
REFILL = 32
#: Results that are written together, and how long the first may wait for others.
RECORD_BATCH = 64
RECORD_WAIT_S = 0.05
#: Between claims that found nothing, while requests are on their way.
IDLE_CLAIM_S = 0.25
#: Between tries to write what the database did not take.
RECORD_AGAIN_S = 0.5
_STEP_S = 0.05


class _Run:
    """One worker's turn: what is on its way and what is yet to be written."""

    def __init__(self, driver: Driver[Claimed], claim_until: float) -> None:
        self._driver = driver
        self._claim_until = claim_until
        self._claim_again_at = 0.0
        self._busy: Counter[UUID] = Counter()
        self._results: list[Result] = []
        self._record_at = 0.0
        self._is_refused = False
        self.attempts = 0

    def is_over_with_work_left(self) -> bool:
        """Work until nothing is due or the turn is over; tell which of the two."""
        while True:
            self._refill()
            if not len(self._driver) and not self._results:
                return time.monotonic() >= self._claim_until
            self._collect(self._driver.step(_STEP_S))

    def _refill(self) -> None:
        now = time.monotonic()
        room = IN_FLIGHT - len(self._driver)
        is_worth_it = room >= REFILL and now >= self._claim_again_at
        if now >= self._claim_until or not (is_worth_it or not len(self._driver)):
            return
        claims = self._claim(room)
        self._claim_again_at = 0.0 if claims else now + IDLE_CLAIM_S
        for claimed in claims:
            self._start(claimed)

    def _claim(self, room: int) -> list[Claimed]:
        """Claim, unless results are to be written first: they are not lost over it."""
        if self._is_refused:
            return []
        try:
            return claim(room, self._busy)
        except psycopg.OperationalError as error:
            if not len(self._driver) and not self._results:
                raise
            log.warning("No claim while requests are on their way: %s", error)
            return []

    def _start(self, claimed: Claimed) -> None:
        self.attempts += 1
        self._busy[claimed.endpoint_id] += 1
        if claimed.secrets:
            self._driver.add(request_of(claimed), claimed)
        else:
            self._note(claimed, _unsigned(claimed))

    def _collect(self, ended: list[tuple[Claimed, Outcome]]) -> None:
        for claimed, outcome in ended:
            self._note(claimed, outcome)
        if self._results and self._is_record_due():
            self._record()

    def _is_record_due(self) -> bool:
        is_enough = len(self._results) >= RECORD_BATCH or not len(self._driver)
        return (is_enough and not self._is_refused) or (
            time.monotonic() >= self._record_at
        )

    def _record(self) -> None:
        try:
            record(self._results)
        except psycopg.OperationalError as error:
            self._keep_leased(error)
            return
        self._results = []
        self._is_refused = False

    def _keep_leased(self, error: psycopg.OperationalError) -> None:
        """Keep the results that still count, to write them in a moment."""
        now = time.monotonic()
        oldest = now + RECORD_AGAIN_S - settings.DELIVERY_LEASE_S
        kept = [one for one in self._results if one.outcome.started > oldest]
        log.warning(
            "%d results could not be written, %d will be tried again: %s",
            len(self._results),
            len(kept),
            error,
        )
        self._results = kept
        self._is_refused = bool(kept)
        self._record_at = now + RECORD_AGAIN_S

    def _note(self, claimed: Claimed, outcome: Outcome) -> None:
        if not self._results:
            self._record_at = time.monotonic() + RECORD_WAIT_S
        self._results.append(Result(claimed, outcome))
        self._busy[claimed.endpoint_id] -= 1
        self._busy += Counter()


def deliver(*, turn_s: float = 10.0) -> bool:
    """
    Attempt the deliveries that are due, and those that become due meanwhile.

    `turn_s`: how long to claim; what is on its way then is still seen to its end.
    Returns whether the turn ended before the work did.
    """
    cancel_orphans()
    with Driver[Claimed]() as driver:
        return _Run(driver, time.monotonic() + turn_s).is_over_with_work_left()


def request_of(claimed: Claimed) -> Request:
    """Return the signed request of one attempt."""
    message_id = public_id("msg", claimed.message_id)
    timestamp = int(claimed.now_s())
    signatures = " ".join(
        sign_standard(standard_key(secret), message_id, timestamp, claimed.body)
        for secret in claimed.secrets
    )
    newest = hub_key(claimed.secrets[0])
    return Request(
        url=claimed.url,
        headers=(
            "Content-Type: application/json",
            f"WebHook-Request-Origin: {origin()}",
            f"webhook-id: {message_id}",
            f"webhook-timestamp: {timestamp}",
            f"webhook-signature: {signatures}",
            f"X-Hub-Signature-256: {sign_hub(newest, claimed.body)}",
        ),
        body=claimed.body,
    )


def _unsigned(claimed: Claimed) -> Outcome:
    """Return the outcome of an attempt that could not be signed, and was not made."""
    return Outcome(
        status_code=None,
        error="secret_unusable",
        detail="The endpoint's secret does not open: an encryption key is missing.",
        headers={},
        body=b"",
        address="",
        started=time.monotonic(),
        duration_s=0.0,
    )
