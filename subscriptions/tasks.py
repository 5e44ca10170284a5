"""The workers' ends of the bells: load nothing, call one service."""

from typing import Any

from celery import shared_task
from celery.worker import state

from subscriptions.services.consenting import ask_consent
from subscriptions.services.redelivering import redeliver
from subscriptions.services.sending import deliver
from tenants.doorbell import ring

#: How long a turn stays after its last work: what comes meanwhile needs no bell.
LINGER_S = 1.0


@shared_task(name="subscriptions.deliver")
def deliver_due(**_: Any) -> None:
    """Attempt the deliveries that are due."""
    if deliver(linger_s=LINGER_S, is_stopping=_is_stopping):
        ring("subscriptions.deliver")


@shared_task(name="subscriptions.ask_consent")
def ask_consent_due(**_: Any) -> None:
    """Ask the receivers whose consent is due."""
    if ask_consent():
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
