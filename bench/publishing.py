"""
Publishes events as workers do: `python -m bench.publishing SLUG COUNT`.

Beside a running platform (GRIDHOOK_VAR). Prints how many deliveries were written.
"""

import os
import sys
from datetime import UTC, datetime

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from subscriptions.services.publishing import Event, publish  # noqa: E402 (after setup)
from tenants.database import pipeline  # noqa: E402 (after setup)

_CHUNK = 100


def main() -> None:
    """Publish that many processed callbacks to whoever asked for them."""
    slug, count = sys.argv[1], int(sys.argv[2])
    with pipeline() as lane:
        row = lane.execute(
            "SELECT id FROM tenants_tenant WHERE slug = %s", [slug]
        ).fetchone()
    if row is None:
        raise SystemExit(f"There is no tenant {slug}.")
    deliveries = 0
    for first in range(0, count, _CHUNK):
        numbers = range(first, min(first + _CHUNK, count))
        events = [_event(row[0], slug, number) for number in numbers]
        with pipeline() as lane, lane.cursor() as cursor:
            deliveries += publish(cursor, events)
    sys.stdout.write(f"{deliveries}\n")


def _event(tenant_id: int, slug: str, number: int) -> Event:
    now = datetime.now(UTC)
    data = {
        "receipt": f"rcp_{number:032x}",
        "transaction_id": f"bench/{number:09d}",
        "source": f"src_{number:032x}",
        "status": "processed",
        "readings": {"stored": 4, "unchanged": 0, "corrected": 0, "rejected": 0},
        "errors": [],
        "received_at": now,
        "processed_at": now,
    }
    return Event(
        tenant_id=tenant_id,
        tenant_slug=slug,
        event_type="callback.processed",
        data=data,
        occurred_at=now,
    )


if __name__ == "__main__":
    main()
