"""What is told of bill runs and invoices."""

from subscriptions.catalogue import schemas as s
from subscriptions.catalogue.entry import EventType

_RUN = "run_0193589d1e0c7cc0b1f4c2c5a1f0d9ac"

TYPES = (
    EventType(
        "bill_run.completed",
        "A bill run has ended.",
        schema=s.document(
            id=s.public("run"),
            status=s.one_of("completed", "failed"),
            period_start=s.DATE,
            period_end=s.DATE,
            account_count=s.COUNT,
            done_count=s.COUNT,
            skipped_count=s.COUNT,
            failed_count=s.COUNT,
        ),
        example={
            "id": _RUN,
            "status": "completed",
            "period_start": "2026-11-01",
            "period_end": "2026-12-01",
            "account_count": 120,
            "done_count": 118,
            "skipped_count": 2,
            "failed_count": 0,
        },
        thin=("id", "status"),
        resource="/bill-runs/{id}/",
    ),
    EventType(
        "invoice.issued",
        "An invoice was issued.",
        schema=s.document(
            number=s.TEXT,
            account=s.TEXT,
            bill_run=s.public("run"),
            period_start=s.DATE,
            period_end=s.DATE,
            currency={"type": "string", "pattern": "^[A-Z]{3}$"},
            total=s.DECIMAL,
        ),
        example={
            "number": "INV-000001",
            "account": "A-17",
            "bill_run": _RUN,
            "period_start": "2026-11-01",
            "period_end": "2026-12-01",
            "currency": "EUR",
            "total": "43.12",
        },
        thin=("number", "account", "bill_run"),
        resource="/invoices/{number}/",
    ),
)
