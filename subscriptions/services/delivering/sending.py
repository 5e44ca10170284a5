"""
Delivering messages: claim (commit), send, record. No transaction is open meanwhile.

One thread sends; beside it one claims ahead and one writes down what came, so that
nobody waits for anybody. A worker that dies leaves its claims to their leases; each
message then goes out again under the same id. Source: docs/explanation/delivery.md
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import psycopg

from subscriptions.http import Driver, Outcome
from subscriptions.services.delivering.claimed_ahead import ClaimedAhead
from subscriptions.services.delivering.claims import Claimed, Claimer, give_back
from subscriptions.services.delivering.pacing import REFILL, Pacing
from subscriptions.services.delivering.parcels import Parcel, parcels, unsigned
from subscriptions.services.delivering.recorder import Recorder
from subscriptions.services.delivering.recording import THROTTLED

log = logging.getLogger(__name__)

#: Between claims that found nothing, at least; and as long as the last one took.
IDLE_CLAIM_S = 0.025
#: For how long a turn that is over goes on as before, while something hangs.
HANGING_S = 60.0
#: Between claims while the database is away.
CLAIM_AGAIN_S = 0.5
#: How long sockets are waited for: with a thread at work, and without.
_BUSY_STEP_S = 0.002
_STEP_S = 0.02
#: What a worker learns of endpoints outlives its turns; each thread is a worker.
_memory = threading.local()


def _never() -> bool:
    return False


class _Turn:
    """One worker's turn: what is on its way, and when it is over."""

    def __init__(
        self,
        driver: Driver[Parcel],
        recorder: Recorder,
        claiming: ThreadPoolExecutor,
        pacing: Pacing,
        linger_s: float,
    ) -> None:
        self._linger_s = linger_s
        self._driver = driver
        self._recorder = recorder
        self._thread = claiming
        self._pacing = pacing
        self._claimer = Claimer(pacing)
        self._claim: Future[list[Claimed]] | None = None
        self._claim_at = -math.inf
        self._asked_at = -math.inf
        self._worked_at = -math.inf
        self._ahead = ClaimedAhead(pacing)
        self._return: Future[None] | None = None
        self._failure: Exception | None = None
        self._has_more = True
        self._was_idle = True

    def run(self, until: float, is_stopping: Callable[[], bool]) -> bool:
        """Work until nothing is due or the turn is over; tell which of the two."""
        while True:
            self._take_claims()
            is_idle = not len(self._driver) and self._claim is None
            self._move_records_on(is_last=is_idle)
            is_over = self._failure is not None or is_stopping()
            self._give_back(is_over=is_over)
            if not is_over:
                is_over = not self._ask_for_more(time.monotonic(), until)
            if is_over and self._is_done():
                break
            self._collect(self._driver.step(self._wait_s()))
        if self._failure is not None:
            raise self._failure
        is_left = self._claimer.is_awaiting or self._recorder.has_given_up
        return self._has_more or is_left

    def _is_done(self) -> bool:
        return not len(self._driver) and self._claim is None and self._recorder.is_empty

    def _wait_s(self) -> float:
        is_busy = self._claim is not None or self._recorder.is_busy
        until_claim_s = self._claim_at - time.monotonic()
        idle_s = min(_STEP_S, until_claim_s) if until_claim_s > 0 else _STEP_S
        return _BUSY_STEP_S if is_busy else idle_s

    def _ask_for_more(self, now: float, until: float) -> bool:
        """Claim when it is time to; tell whether the turn goes on."""
        if now >= until and not self._pacing.has_slow(now):
            return False
        if not len(self._driver) and self._is_quiet(now):
            return False
        if self._claim is not None or now < self._claim_at:
            return True
        has_room = not len(self._driver) or self._pacing.room(now).of_all >= REFILL
        if has_room and self._recorder.is_open:
            # What hangs when the turn is over must not hold up the others. In the end,
            # though, it is joined by nobody who may hang too.
            is_careful = now >= until + HANGING_S
            self._asked_at = now
            self._claim = self._thread.submit(
                self._claimer.claim, is_careful=is_careful
            )
            self._was_idle = not len(self._driver)
        return True

    def _is_quiet(self, now: float) -> bool:
        is_awaiting = self._has_more or self._claimer.is_awaiting
        return not is_awaiting and now - self._worked_at >= self._linger_s

    def _take_claims(self) -> None:
        if self._claim is None or not self._claim.done():
            return
        claim, self._claim = self._claim, None
        try:
            claims = claim.result()
        except psycopg.OperationalError as error:
            self._put_off(error)
            return
        except Exception as error:
            # What is on its way is seen to its end first.
            log.exception("No more is claimed in this turn.")
            self._failure = error
            return
        now = time.monotonic()
        # While requests fly, what they hold up may be all there is.
        self._has_more = bool(claims) or not self._was_idle
        if claims:
            self._worked_at = now
        pause_s = max(IDLE_CLAIM_S, now - self._asked_at)
        self._claim_at = now if claims else now + pause_s
        for parcel in parcels(claims):
            self._start(parcel, now)

    def _put_off(self, error: psycopg.OperationalError) -> None:
        """Claim later, while there is something to see to its end; else give up."""
        if not len(self._driver) and self._recorder.is_empty:
            self._failure = error
            return
        log.warning("No claim while requests are on their way: %s", error)
        self._claim_at = time.monotonic() + CLAIM_AGAIN_S

    def _give_back(self, *, is_over: bool) -> None:
        """Undo claims that would wait for long, or keep the worker from its end."""
        if self._return is not None and self._return.done():
            error = self._return.exception()
            self._return = None
            if error is not None:
                log.warning("Claims are left to their leases: %s", error)
        if self._return is None and len(self._ahead):
            late = self._ahead.hopeless(time.monotonic())
            parcels = self._ahead.all() + late if is_over else late
            claims = [claimed for parcel in parcels for claimed in parcel.claims]
            if claims:
                self._return = self._thread.submit(give_back, claims)

    def _start(self, parcel: Parcel, now: float) -> None:
        first = parcel.first
        if not self._pacing.may_begin(first.endpoint_id):
            self._ahead.put(parcel)
            return
        self._pacing.begin(first.endpoint_id, parcel, now, is_late=first.is_late)
        if first.destination.secrets:
            self._driver.add(parcel.request(), parcel)
        else:
            self._end(parcel, unsigned())

    def _collect(self, ended: list[tuple[Parcel, Outcome]]) -> None:
        for parcel, outcome in ended:
            self._end(parcel, outcome)

    def _end(self, parcel: Parcel, outcome: Outcome) -> None:
        now = time.monotonic()
        endpoint_id = parcel.first.endpoint_id
        verdict = _verdict(outcome)
        self._pacing.end(endpoint_id, parcel, now, verdict=verdict)
        evidence_s = None
        if not verdict:
            evidence_s = self._pacing.evidence_s(endpoint_id, now)
        self._recorder.add(parcel.results(outcome, evidence_s))
        following = self._ahead.next_of(endpoint_id)
        if following is not None:
            self._start(following, now)

    def _move_records_on(self, *, is_last: bool) -> None:
        try:
            self._recorder.move_on(is_last=is_last)
        except Exception as error:
            log.exception("Results were lost; their deliveries go out again.")
            self._failure = error


def _verdict(outcome: Outcome) -> bool | None:
    """Return whether it went well; None: it asks for fewer requests at a time."""
    if outcome.is_success:
        return True
    is_too_much = outcome.error == "timeout" or outcome.status_code in THROTTLED
    return None if is_too_much else False


def deliver(
    *,
    turn_s: float = 10.0,
    linger_s: float = 0.0,
    is_stopping: Callable[[], bool] = _never,
) -> bool:
    """
    Attempt the deliveries that are due, and those that become due meanwhile.

    `turn_s`: how long to claim; what is on its way then is still seen to its end.
    `linger_s`: how long to stay after the last work: what comes then needs no bell.
    `is_stopping`: tells that the worker is to end, and so the turn.
    Returns whether the turn ended before the work did.
    """
    until = time.monotonic() + turn_s
    with (
        Driver[Parcel]() as driver,
        Recorder() as recorder,
        ThreadPoolExecutor(1, thread_name_prefix="claim") as claiming,
    ):
        turn = _Turn(driver, recorder, claiming, _pacing(), linger_s)
        return turn.run(until, is_stopping)


def _pacing() -> Pacing:
    if not hasattr(_memory, "pacing"):
        _memory.pacing = Pacing()
    pacing: Pacing = _memory.pacing
    return pacing
