"""`manage.py maintain`: make the coming partitions, drop those past their retention."""

from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from ingest.processing.partitions import drop_old_bodies, ensure_partitions


class Command(BaseCommand):
    """What a worker does every hour, and `manage.py up` once at its start."""

    help = "Make the partitions of the coming days and drop old raw bodies."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Do it, and say what was dropped."""
        now = timezone.now()
        ensure_partitions(now)
        dropped = drop_old_bodies(now)
        self.stdout.write(f"Partitions are ready; {dropped} days of bodies dropped.")
