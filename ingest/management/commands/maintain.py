"""`manage.py maintain`: make the coming partitions, drop what is past its retention."""

from typing import Any

from django.core.management.base import BaseCommand

from ingest.processing.partitions import (
    drop_old_bodies,
    drop_old_readings,
    ensure_partitions,
)
from ingest.processing.retention import forget_callbacks
from ingest.processing.trials import forget_old
from subscriptions.services.retention import forget_messages
from tenants.database import database_clock
from tenants.services import forget_expired

#: Seconds that forgetting ids, and messages, takes at most; the workers go on with it
#: each hour.
FORGET_S = 10


class Command(BaseCommand):
    """What a worker does every hour, and `manage.py up` once at its start."""

    help = (
        "Make the partitions of the coming days; drop old raw bodies, old readings (if "
        "a retention is set), old ids of the ledger, old messages, old replies to "
        "idempotency keys and ended sessions."
    )

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Do it, and say what was dropped."""
        now = database_clock()
        ensure_partitions(now)
        dropped = drop_old_bodies(now)
        months = drop_old_readings(now)
        forgotten = forget_expired(now=now)
        forget_old()
        ids = forget_callbacks(now=now, seconds=FORGET_S).callbacks
        rows = forget_messages(now=now, seconds=FORGET_S).rows
        self.stdout.write(
            f"Partitions are ready; {dropped} days of bodies, {months} months of "
            f"readings, {ids} transaction ids, {rows} messages and deliveries and "
            f"{forgotten} kept replies dropped."
        )
