"""`manage.py maintain`: make the coming partitions, drop what is past its retention."""

from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from ingest.processing.partitions import drop_old_bodies, ensure_partitions
from tenants.services import forget_expired


class Command(BaseCommand):
    """What a worker does every hour, and `manage.py up` once at its start."""

    help = (
        "Make the partitions of the coming days; drop old raw bodies, old replies to "
        "idempotency keys and ended sessions."
    )

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Do it, and say what was dropped."""
        now = timezone.now()
        ensure_partitions(now)
        dropped = drop_old_bodies(now)
        forgotten = forget_expired(now=now)
        self.stdout.write(
            f"Partitions are ready; {dropped} days of bodies and {forgotten} kept "
            f"replies dropped."
        )
