"""The invoice as a PDF, typeset from its document; the same bytes each time."""

import json
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import typst

from billing.money import round_money
from billing.queries.invoices import InvoiceDocument, LineDocument
from ingest.units import plain

_TEMPLATE = Path(__file__).with_name("invoice.typ")


def invoice_pdf(document: InvoiceDocument) -> bytes:
    """Return the invoice's page."""
    pdf: bytes = typst.compile(
        _TEMPLATE.read_bytes(),
        format="pdf",
        ignore_system_fonts=True,
        sys_inputs={"invoice": json.dumps(_page(document))},
    )
    return pdf


def _page(document: InvoiceDocument) -> dict[str, Any]:
    return {
        "number": document.number,
        "account": document.account,
        "currency": document.currency,
        "total": document.total,
        "parties": document.parties,
        "period_start": document.period_start.isoformat(),
        "last_day": _last_day(document.period_end),
        "issued_on": document.issued_on.isoformat(),
        "lines": [_line(line) for line in document.lines],
    }


def _line(line: LineDocument) -> dict[str, Any]:
    shares = line.evidence.get("shares", {})
    return {
        "description": line.description,
        "period_start": line.period_start.isoformat(),
        "last_day": _last_day(line.period_end),
        "quantity": line.quantity,
        "unit": line.unit,
        "unit_price": line.unit_price,
        "amount": line.amount,
        "reading_count": str(line.evidence.get("reading_count", "")),
        "digest": line.evidence.get("digest", ""),
        "days": [
            {"day": day.day.isoformat(), "value": day.value, "actual": day.actual}
            for day in line.days
        ],
        **{f"{name}_percent": _percent(share) for name, share in shares.items()},
    }


def _percent(share: str) -> str:
    return plain(round_money(Decimal(share) * 100, 1))


def _last_day(end: date) -> str:
    return (end - timedelta(days=1)).isoformat()
