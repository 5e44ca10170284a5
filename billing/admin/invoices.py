"""Invoices, as the people who pay them see them."""

from collections import defaultdict
from decimal import Decimal
from typing import Any

from django.http import HttpRequest
from unfold.decorators import display

from billing.models import Invoice, InvoiceLine
from billing.money import minor_digits, round_money
from ingest.units import plain
from tenants.console.charts import ChartDay, coverage_chart, usage_chart
from tenants.console.pages import ADMINS_AND_CLERKS, EVERYONE, TenantAdmin

_SHARES = (("actual", "measured"), ("estimated", "estimated"), ("missing", "missing"))


class InvoiceAdmin(TenantAdmin):
    """Invoices."""

    read_roles = EVERYONE
    write_roles = ADMINS_AND_CLERKS
    detail_template = "console/invoice.html"
    empty_title = "No invoices yet"
    empty_text = "Start a bill run: it makes one for each account."
    list_display = ("number", "account", "period", "amount", "issued_at")
    list_select_related = ("account",)
    search_fields = ("number", "account__number", "account__name")
    # Ids are in the order of issue; numbers, as text, are not past INV-999999.
    ordering = ("-id",)

    @display(description="Period")
    def period(self, invoice: Invoice) -> str:
        """Return the period."""
        return f"{invoice.period_start} to {invoice.period_end}"

    @display(description="Total")
    def amount(self, invoice: Invoice) -> str:
        """Return the total."""
        return money(invoice.total, invoice.currency)

    def detail(self, request: HttpRequest, thing: Invoice) -> dict[str, Any]:
        """Return an invoice's document."""
        lines = list(
            InvoiceLine.objects.filter(tenant=thing.tenant_id, invoice=thing).order_by(
                "position"
            )
        )
        return {
            "total": money(thing.total, thing.currency),
            "lines": [_line(line, thing.currency) for line in lines],
            "charts": _charts(lines),
        }


def money(amount: Decimal, currency: str) -> str:
    """Return an amount with the currency's decimals, in groups of three digits."""
    return f"{round_money(amount, minor_digits(currency)):,} {currency}"


def _line(line: InvoiceLine, currency: str) -> dict[str, Any]:
    shares = line.evidence.get("shares", {})
    return {
        "line": line,
        "quantity": plain(line.quantity),
        "unit_price": _price(line.unit_price, currency),
        "amount": money(line.amount, currency),
        "shares": [
            (word, f"{100 * Decimal(str(shares[name])):.1f} %")
            for name, word in _SHARES
            if name in shares
        ],
    }


def _price(price: Decimal, currency: str) -> str:
    """Return a price in full, with the currency's decimals at least."""
    digits = minor_digits(currency)
    rounded = round_money(price, digits)
    return f"{rounded:f}" if rounded == price else plain(price)


def _charts(lines: list[InvoiceLine]) -> list[dict[str, Any]]:
    """Return two charts for each meter: its days, and how well they are known."""
    days: dict[tuple[str, str, str], dict[str, ChartDay]] = defaultdict(dict)
    for line in lines:
        proof = line.evidence
        key = (proof.get("device", ""), proof.get("channel", ""), line.unit)
        for day, *numbers in proof.get("days", ()):
            days[key][day] = ChartDay(day, *map(Decimal, numbers))
    return [
        {
            "id": f"days-{index}",
            "device": device,
            "channel": channel,
            "usage_spec": usage_chart(_in_order(found), unit),
            "coverage_id": f"coverage-{index}",
            "coverage_spec": coverage_chart(_in_order(found)),
        }
        for index, ((device, channel, unit), found) in enumerate(days.items())
    ]


def _in_order(days: dict[str, ChartDay]) -> list[ChartDay]:
    return [days[day] for day in sorted(days)]
