"""The workers' ends of the bells: load nothing, call one service."""

from typing import Any

from celery import shared_task

from subscriptions.services.consenting import ask_consent
from subscriptions.services.sending import deliver
from tenants.doorbell import ring


@shared_task(name="subscriptions.deliver")
def deliver_due(**_: Any) -> None:
    """Attempt the deliveries that are due."""
    if deliver():
        ring("subscriptions.deliver")


@shared_task(name="subscriptions.ask_consent")
def ask_consent_due(**_: Any) -> None:
    """Ask the receivers whose consent is due."""
    if ask_consent():
        ring("subscriptions.deliver")
