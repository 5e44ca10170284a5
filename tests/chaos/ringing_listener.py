"""
A listener that waits for the broker in the request, on purpose.

For the negative control of R14: publishing there hangs with the broker.
"""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from config.celery import app  # noqa: E402 (Django's settings come first)
from ingest.listener.rsgi import RsgiListener  # noqa: E402
from tenants import doorbell  # noqa: E402


def ring_here(task: str, after_s: float = 0.0) -> None:
    """Publish where the caller waits for it."""
    app.send_task(task, countdown=after_s)


doorbell.ring = ring_here
listener = RsgiListener()
