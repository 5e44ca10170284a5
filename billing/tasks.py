"""The bell that billing answers to."""

from typing import Any

from celery import shared_task

from billing.services.invoicing import run_bills


@shared_task(name="billing.run_bills")
def run_bills_task(**_kwargs: Any) -> None:
    """Carry the open bill runs."""
    run_bills()
