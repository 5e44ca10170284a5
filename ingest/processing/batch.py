"""
One batch: a transaction that takes callbacks from the queue and settles them.

Small callbacks come together; a chunk of one large callback follows in a transaction
of its own, so that neither kind holds the other up.

A callback that makes the code raise does not hold up the others: the batch is rolled
back and done one by one, and the culprit is set aside, visibly. Each has a transaction
of its own: who published twice in one would hold device lanes while it waits for others
that come before these, and workers would wait for each other in a circle.
One that kills its worker is found by what the worker leaves (`trials`).
Source: docs/explanation/usage.md
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import psycopg
from psycopg import Connection, errors

from ingest.formats.parsed import Parsed
from ingest.processing.chunks import conclude, next_chunk, sum_up
from ingest.processing.claims import claim, claim_again, claim_large, release
from ingest.processing.corrections import Corrections
from ingest.processing.directory import ChannelChanged, Directory, Memory
from ingest.processing.kept import Kept
from ingest.processing.marks import mark
from ingest.processing.parsing import parse_body
from ingest.processing.partitions import ensure_months
from ingest.processing.readings import Offer, Offers, keep_signed
from ingest.processing.retention import refuse_forgotten
from ingest.processing.settling import settle
from ingest.processing.silence import hear
from ingest.processing.trials import MOST_LEFT, trial
from ingest.processing.work import Claim, Outcome
from tenants.database import pipeline

log = logging.getLogger(__name__)

#: What says nothing about the callback: the whole batch is tried again later.
_PASSING = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    ChannelChanged,
    # A database that is older or younger than the code.
    errors.InsufficientPrivilege,
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
)
#: Operational errors that a callback itself can cause.
_OWN_FAULT = (errors.ProgramLimitExceeded,)

#: Whoever needs what a worker holds that stands still is left in the queue, and holds
#: nobody up.
_HURRY = "SET LOCAL lock_timeout = '20ms'"

#: The channels that this process knows.
_memory = Memory()
#: The large bodies that this process has parsed and goes on with.
_kept = Kept()


@dataclass(slots=True)
class BatchResult:
    """What a batch did."""

    callbacks: int = 0
    deliveries: int = 0
    #: Readings stored or corrected.
    readings: int = 0
    _directories: list[Directory] = field(default_factory=list)

    def remember(self) -> None:
        """Keep what the batch found out, now that it is committed."""
        for directory in self._directories:
            _memory.keep(directory.fresh)
        # Once: a transaction that is undone later may have changed what it found here.
        self._directories.clear()

    def add(self, outcomes: Sequence[Outcome], directory: Directory, told: int) -> None:
        """Count a savepoint that succeeded."""
        self.deliveries += told
        self.readings += sum(one.stored + one.corrected for one in outcomes)
        self._directories.append(directory)


def process_batch(limit: int) -> BatchResult:
    """
    Settle up to `limit` of the oldest callbacks, then a chunk of a large one.

    Returns: with `callbacks` 0 when no other worker's callback is left.
    Raises: psycopg.OperationalError, ChannelChanged: try later; what was undone
        is in the queue.
    """
    result = BatchResult()
    _memory.refresh()
    _transact(lambda lane, _: claim(lane, limit), result)
    _transact(lambda lane, now: claim_large(lane, now, _kept), result)
    return result


def _transact(
    take: Callable[[Connection[Any], datetime], Sequence[Claim]], result: BatchResult
) -> None:
    """Take callbacks and work on them; all of it, or nothing."""
    try:
        with pipeline() as lane:
            now = _clock(lane)
            claims = take(lane, now)
            if claims:
                with trial(lane, [one.id for one in claims]):
                    _settle_all(lane, claims, now, result)
    except _Undone as undone:
        _memory.forget()
        for one in undone.claims:
            _transact(partial(_take_again, one, undone.is_hurried), result)
        return
    except BaseException:
        _memory.forget()
        raise
    result.callbacks += len(claims)
    result.remember()


class _Undone(Exception):
    """A batch of several is undone; its callbacks are to be done one by one."""

    def __init__(self, claims: Sequence[Claim], *, is_hurried: bool) -> None:
        super().__init__()
        self.claims = claims
        self.is_hurried = is_hurried


def _take_again(
    one: Claim, is_hurried: bool, lane: Connection[Any], _now: datetime
) -> Sequence[Claim]:
    if is_hurried:
        lane.execute(_HURRY)
    return claim_again(lane, one)


def _settle_all(
    lane: Connection[Any], claims: Sequence[Claim], now: datetime, result: BatchResult
) -> None:
    if claims[0].workers_lost >= MOST_LEFT:
        _set_aside(lane, claims[0], now, result, "WorkerLost")
        return
    try:
        with lane.transaction():
            _work(lane, claims, now, result)
    except Exception as error:
        is_hurried = isinstance(error, errors.LockNotAvailable)
        if not is_hurried and _is_passing(error):
            raise
        _memory.forget()
        if len(claims) > 1:
            log.warning("A batch of %s is done one by one: %r", len(claims), error)
            raise _Undone(claims, is_hurried=is_hurried) from error
        if is_hurried:
            lane.execute(_HURRY)
        _settle_one(lane, claims[0], now, result)


def _settle_one(
    lane: Connection[Any], one: Claim, now: datetime, result: BatchResult
) -> None:
    try:
        with lane.transaction():
            _work(lane, [one], now, result)
    except errors.LockNotAvailable:
        _memory.forget()
        log.warning("Callback %s waits for what another worker holds", one.id)
    except Exception as error:
        if _is_passing(error):
            raise
        _memory.forget()
        log.warning("Processing a callback failed", exc_info=error)
        _set_aside(lane, one, now, result, type(error).__name__)


def _set_aside(
    lane: Connection[Any], one: Claim, now: datetime, result: BatchResult, detail: str
) -> None:
    """Settle a callback as failed; what its earlier chunks stored is counted."""
    log.error("Callback %s is set aside: %s", one.id, detail)
    failed = Parsed()
    failed.refuse(None, "processing_failed", detail)
    outcome = Outcome(one, failed)
    if one.progress is not None:
        outcome = sum_up(lane, one, one.progress, failed)
    result.deliveries += settle(lane, [outcome], None, (), now)
    _finish(lane, [one])


def _finish(lane: Connection[Any], claims: Sequence[Claim]) -> None:
    release(lane, claims)
    for one in claims:
        _kept.forget(one.id)


def _is_passing(error: Exception) -> bool:
    return isinstance(error, _PASSING) and not isinstance(error, _OWN_FAULT)


def _clock(lane: Connection[Any]) -> datetime:
    row = lane.execute("SELECT now()", binary=True).fetchone()
    now: datetime = row[0] if row else datetime.now(UTC)
    return now


def _work(
    lane: Connection[Any], claims: Sequence[Claim], now: datetime, result: BatchResult
) -> None:
    outcomes = [_outcome(one, now) for one in claims]
    ensure_months(
        {
            (reading[4].year, reading[4].month)
            for outcome in outcomes
            for reading in outcome.parsed.readings
        }
    )
    directory = Directory(lane, _memory.channels, _memory.watched)
    directory.load(outcomes)
    offers = Offers(outcomes, directory)
    offers.collect()
    corrections = Corrections(outcomes, now)
    corrections.apply(lane, offers.insert(lane))
    mark(lane, [*_new_registers(offers, corrections), *corrections.touched])
    heard = hear(lane, offers, now)
    done = [one for one in (conclude(lane, each) for each in outcomes) if one]
    told = settle(lane, done, directory, heard, now)
    _finish(lane, [one.claim for one in done])
    result.add(outcomes, directory, told)


def _outcome(one: Claim, now: datetime) -> Outcome:
    """Return the readings to be stored now: all of a small one, or the next chunk."""
    if one.progress is None:
        return Outcome(one, _parse(one, now))
    whole = one.whole
    if whole is None:
        whole = _parse(one, one.progress.began_at)
        _kept.keep(one.id, one.progress.began_at, whole)
    return next_chunk(one, whole, one.progress)


def _parse(one: Claim, now: datetime) -> Parsed:
    parsed = parse_body(
        one.content_type, one.body, now=now, received_at=one.received_at
    )
    if one.signed_by is not None:
        keep_signed(parsed, one.signed_by)
    refuse_forgotten(parsed, now)
    return parsed


def _new_registers(
    offers: Offers, corrections: Corrections
) -> list[tuple[int, int, datetime, int]]:
    """Return the register readings; new intervals were marked as they were stored."""
    outcomes = corrections.outcomes

    def tenant_of(offer: Offer) -> int:
        return outcomes[offer.owner - 1].claim.tenant_id

    return [
        (tenant_of(offer), offer.channel_id, offer.start_at, 0)
        for offer in offers.rows
        if not offer.duration_s
    ]
