"""The workers' ends of the bells: load nothing, call one service."""

from typing import Any

from celery import shared_task
from django.utils import timezone

from tenants.audit_seals import seal_trails
from tenants.doorbell import ring
from tenants.mail import send_mails


@shared_task(name="tenants.send_mail")
def send_due_mails(**_: Any) -> None:
    """Send the mails to admins that are due."""
    if send_mails():
        ring("tenants.send_mail")


@shared_task(name="tenants.seal_audit")
def seal_audit(**_: Any) -> None:
    """Seal what is settled of the audit trails."""
    seal_trails(now=timezone.now())
