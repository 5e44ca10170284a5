from datetime import UTC, date, datetime
from typing import Any

import pytest

from billing.queries.invoices import InvoiceDocument, LineDocument
from billing.typesetting import invoice_pdf

EVIDENCE: dict[str, Any] = {
    "days": [["2016-07-01", "0", "0", "0", "1"]],
    "shares": {"actual": "0", "estimated": "0", "missing": "1"},
    "reading_count": 0,
    "digest": "sha256:00",
}


def document(text: str, evidence: dict[str, Any]) -> InvoiceDocument:
    line = LineDocument(
        position=1,
        description=text,
        period_start=date(2016, 7, 1),
        period_end=date(2016, 7, 2),
        quantity="0",
        unit="kWh",
        unit_price="0.25",
        amount="0.00",
        evidence=evidence,
    )
    parties = {
        "tenant": {"name": text, "timezone": "Europe/Brussels"},
        "account": {"number": "A-1", "name": text, "address": f"{text}\n{text}"},
    }
    return InvoiceDocument(
        number="INV-000001",
        account="A-1",
        bill_run="run_0",
        period_start=date(2016, 7, 1),
        period_end=date(2016, 7, 2),
        currency="EUR",
        total="0.00",
        parties=parties,
        issued_at=datetime(2016, 8, 1, 22, 30, tzinfo=UTC),
        lines=(line,),
    )


@pytest.mark.parametrize(
    "text",
    ['#panic("x")', "*a* _b_ $c$ <d> @e \\ ", '#read("/etc/passwd")', "", "漢字"],
)
def test_text_from_outside_is_never_markup(text: str) -> None:
    assert invoice_pdf(document(text, EVIDENCE)).startswith(b"%PDF-")


def test_a_document_without_days_is_typeset() -> None:
    assert invoice_pdf(document("Ann", {})).startswith(b"%PDF-")


def test_the_same_document_is_the_same_bytes() -> None:
    one = document("Ann", EVIDENCE)
    assert invoice_pdf(one) == invoice_pdf(one)


def test_an_invoice_is_issued_on_the_tenants_local_day() -> None:
    assert document("Ann", {}).issued_on == date(2016, 8, 2)
