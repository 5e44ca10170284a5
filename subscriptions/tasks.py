"""The workers' ends of the bells: load nothing, call one service."""

from typing import Any

from celery import shared_task
from celery.worker import state
from django.conf import settings

from subscriptions.services.consenting import ask_consent
from subscriptions.services.delivering.next_due import next_due_s
from subscriptions.services.delivering.sending import deliver
from subscriptions.services.manifests import send_manifests
from subscriptions.services.ordering import release_stuck
from subscriptions.services.orphans import cancel_orphans
from subscriptions.services.redelivering import redeliver
from subscriptions.services.retention import forget_messages
from subscriptions.services.tokens import fetch_tokens
from tenants.database import database_clock
from tenants.doorbell import ring

#: How long a turn claims before it lets the worker hear of others.
TURN_S = 30.0
#: How long a turn stays after its last work: what comes meanwhile needs no bell.
LINGER_S = 1.0


@shared_task(name="subscriptions.deliver")
def deliver_due(**_: Any) -> None:
    """Attempt the deliveries that are due, and wake for those that soon will be."""
    if deliver(turn_s=TURN_S, linger_s=LINGER_S, is_stopping=_is_stopping):
        ring("subscriptions.deliver")
        return
    after_s = next_due_s(within_s=settings.SWEEP_INTERVAL_S)
    if after_s is not None:
        ring("subscriptions.deliver", after_s)


@shared_task(name="subscriptions.ask_consent")
def ask_consent_due(**_: Any) -> None:
    """Ask the receivers whose consent is due."""
    if ask_consent():
        ring("subscriptions.deliver")


@shared_task(name="subscriptions.fetch_tokens")
def fetch_due_tokens(**_: Any) -> None:
    """Ask for the bearer tokens that are due."""
    if fetch_tokens():
        ring("subscriptions.ask_consent")
        ring("subscriptions.deliver")


def _is_stopping() -> bool:
    """Tell whether the worker was asked to end: by then it is an exit code, or True."""
    asked: object = state.should_stop
    return asked is not None and asked is not False


@shared_task(name="subscriptions.redeliver")
def redeliver_due(**_: Any) -> None:
    """Make the next messages of redeliveries due."""
    if redeliver():
        ring("subscriptions.redeliver")


@shared_task(name="subscriptions.release_stuck")
def release_stuck_deliveries(**_: Any) -> None:
    """Find ordered deliveries that wait for nobody."""
    if release_stuck():
        ring("subscriptions.deliver")


@shared_task(name="subscriptions.cancel_orphans")
def cancel_orphaned_deliveries(**_: Any) -> None:
    """Cancel what waits for deleted endpoints, in short turns."""
    if cancel_orphans():
        ring("subscriptions.cancel_orphans")


@shared_task(name="subscriptions.send_manifests")
def send_due_manifests(**_: Any) -> None:
    """Publish the manifests of days that have ended."""
    if send_manifests():
        ring("subscriptions.send_manifests")


@shared_task(name="subscriptions.maintain")
def maintain(**_: Any) -> None:
    """Forget messages that are past their retention, in short turns."""
    if not forget_messages(now=database_clock()).is_done:
        ring("subscriptions.maintain")
