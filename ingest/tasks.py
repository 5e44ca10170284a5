"""The bells that workers hear: process, compute usage, look after partitions."""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

import psycopg
from celery import shared_task
from django.conf import settings

from ingest.processing import retention, silence
from ingest.processing.batch import process_batch
from ingest.processing.directory import ChannelChanged
from ingest.processing.partitions import (
    drop_old_bodies,
    drop_old_readings,
    ensure_partitions,
)
from ingest.processing.trials import forget_old
from ingest.services.usage import recompute
from tenants import doorbell
from tenants.database import database_clock, pipeline
from tenants.services import forget_expired

log = logging.getLogger(__name__)

#: Seconds after which a task makes room for others and rings for itself.
TURN_S = 2.0
#: Seconds that a turn of forgetting takes: callbacks that come in go first.
FORGET_S = 0.5
#: Marks of days that one transaction takes; many are about the same few days.
MARKS = 10_000


@shared_task(name="ingest.process")
def process(**_kwargs: Any) -> None:
    """Settle the callbacks that wait."""
    deliveries = 0

    def one_batch() -> bool:
        nonlocal deliveries
        result = process_batch(settings.PROCESSING_BATCH_SIZE)
        deliveries += result.deliveries
        return result.callbacks > 0

    is_drained = _drain(one_batch)
    if deliveries:
        doorbell.ring("subscriptions.deliver")
    if not is_drained:
        # Usage waits until the queue is short: days are then computed once, not for
        # every callback. The sweep computes it even if that never comes.
        doorbell.ring("ingest.process")
    else:
        doorbell.ring("ingest.recompute_usage")


@shared_task(name="ingest.recompute_usage")
def recompute_usage(**_kwargs: Any) -> None:
    """Compute the usage of the days that are marked."""
    if not _drain(lambda: recompute(MARKS) > 0):
        doorbell.ring("ingest.recompute_usage")


@shared_task(name="ingest.find_silent")
def find_silent(**_kwargs: Any) -> None:
    """Tell of the watched channels that are overdue."""
    deliveries = 0

    def one_step() -> bool:
        nonlocal deliveries
        with pipeline() as lane:
            swept = silence.find_silent(lane)
        deliveries += swept.deliveries
        return swept.channels > 0

    if not _drain(one_step):
        doorbell.ring("ingest.find_silent")
    if deliveries:
        doorbell.ring("subscriptions.deliver")


@shared_task(name="ingest.maintain_partitions")
def maintain_partitions(**_kwargs: Any) -> None:
    """Make the partitions of the coming days and drop what is past its retention."""
    now = database_clock()
    ensure_partitions(now)
    drop_old_bodies(now)
    drop_old_readings(now)
    forget_expired(now=now)
    forget_old()
    doorbell.ring("ingest.forget_callbacks")


@shared_task(name="ingest.forget_callbacks")
def forget_callbacks(**_kwargs: Any) -> None:
    """Forget ids that are past their retention, in short turns between other work."""
    if not retention.forget_callbacks(now=database_clock(), seconds=FORGET_S).is_done:
        doorbell.ring("ingest.forget_callbacks")


def _drain(step: Callable[[], bool]) -> bool:
    """Repeat the step until it finds no work (True) or the turn is over (False)."""
    end = monotonic() + TURN_S
    while monotonic() < end:
        try:
            if not step():
                return True
        except (psycopg.OperationalError, ChannelChanged) as error:
            # Nothing was done, so nothing is lost: the sweep comes back to it.
            log.warning("Tried again later: %r", error)
            return True
    return False
