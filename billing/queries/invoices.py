"""The invoice as a document: what was billed, as it was billed."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from billing.models import Invoice, InvoiceLine
from billing.money import money_text
from ingest.units import plain
from tenants.models import Tenant
from tenants.problems import NotFound

USAGE_PATH = "/api/v1/usage/"


class InvoiceUnknown(NotFound):
    """There is no invoice with this number in this tenant."""

    code = "invoice_unknown"


@dataclass(frozen=True)
class BilledDay:
    """What a line billed for one local day, and the shares of it."""

    day: date
    value: str
    actual: str
    estimated: str
    missing: str


@dataclass(frozen=True)
class LineDocument:
    """One line: the arithmetic as text, and its proof."""

    position: int
    description: str
    period_start: date
    period_end: date
    quantity: str
    unit: str
    unit_price: str
    amount: str
    evidence: dict[str, Any]

    @property
    def days(self) -> list[BilledDay]:
        """The days that the quantity sums; none where days themselves are billed."""
        return [
            BilledDay(date.fromisoformat(day), *rest)
            for day, *rest in self.evidence.get("days", [])
        ]

    @property
    def usage_url(self) -> str | None:
        """Where the days' usage is to be read as it is known now."""
        if "days" not in self.evidence:
            return None
        query = {
            "device": self.evidence["device"],
            "channel": self.evidence["channel"],
            "from": self.period_start.isoformat(),
            "to": self.period_end.isoformat(),
            "interval": "day",
        }
        return f"{USAGE_PATH}?{urlencode(query)}"


@dataclass(frozen=True)
class InvoiceDocument:
    """Everything that is printed on an invoice."""

    number: str
    account: str
    bill_run: str
    period_start: date
    period_end: date
    currency: str
    total: str
    parties: dict[str, dict[str, str]]
    issued_at: datetime
    lines: tuple[LineDocument, ...]

    @property
    def issued_on(self) -> date:
        """The local day of issue, in the zone that the tenant had."""
        zone = ZoneInfo(self.parties["tenant"]["timezone"])
        return self.issued_at.astimezone(zone).date()


def invoice_document(*, tenant: Tenant, number: str) -> InvoiceDocument:
    """
    Return the invoice with its lines.

    Raises: InvoiceUnknown.
    """
    invoice = (
        Invoice.objects.filter(tenant=tenant, number=number)
        .select_related("bill_run")
        .first()
    )
    if invoice is None:
        raise InvoiceUnknown(f"There is no invoice {number}.")
    lines = invoice.lines.filter(tenant=tenant).order_by("position")
    return InvoiceDocument(
        number=invoice.number,
        account=invoice.parties["account"]["number"],
        bill_run=invoice.bill_run.public_id,
        period_start=invoice.period_start,
        period_end=invoice.period_end,
        currency=invoice.currency,
        total=money_text(invoice.total, invoice.currency),
        parties=invoice.parties,
        issued_at=invoice.issued_at,
        lines=tuple(_line(line, invoice.currency) for line in lines),
    )


def _line(line: InvoiceLine, currency: str) -> LineDocument:
    return LineDocument(
        position=line.position,
        description=line.description,
        period_start=line.period_start,
        period_end=line.period_end,
        quantity=plain(line.quantity),
        unit=line.unit,
        unit_price=plain(line.unit_price),
        amount=money_text(line.amount, currency),
        evidence=line.evidence,
    )
