"""`manage.py maintain`: make the coming days' partitions, drop those past retention."""

from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from ingest.processing.partitions import drop_old_bodies, ensure_partitions


class Command(BaseCommand):
    """Look after partitions now; beat does it every hour."""

    help = "Make the coming days' partitions and drop bodies past their retention."

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it once."""
        now = timezone.now()
        ensure_partitions(now)
        drop_old_bodies(now)
