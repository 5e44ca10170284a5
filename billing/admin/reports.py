"""The clerk's report: usage and billed amount of each account and month."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone

from billing.admin.invoices import InvoiceAdmin, money
from billing.admin.runs import month_start
from billing.exports import usage_report_csv
from billing.models import Account, Invoice
from billing.queries.invoices import InvoiceUnknown, invoice_document
from billing.queries.reports import MonthRow, monthly_report, report_totals
from billing.typesetting import invoice_pdf
from ingest.units import plain
from tenants.actors import actor_of
from tenants.console.forms import ConsoleForm, DateInput, Suggest
from tenants.problems import Problem

_MONTHS_SHOWN = 12
_SUGGESTED = 500


class ReportForm(ConsoleForm):
    """The dates that a report covers."""

    from_date = forms.DateField(label="From", widget=DateInput())
    to_date = forms.DateField(label="Until", widget=DateInput())
    account = forms.CharField(widget=Suggest(), required=False)

    def fill_choices(self) -> None:
        """Suggest the tenant's accounts."""
        numbers = Account.objects.filter(tenant=self.actor.tenant).order_by("number")
        self.fields["account"].widget.suggestions = list(
            numbers.values_list("number", flat=True)[:_SUGGESTED]
        )

    def clean_account(self) -> Account | None:
        """Return the account of this number; None: all."""
        number = self.cleaned_data["account"]
        if not number:
            return None
        found = Account.objects.filter(tenant=self.actor.tenant, number=number).first()
        if found is None:
            raise forms.ValidationError(f"There is no account {number}.")
        return found


class InvoicesAndReports(InvoiceAdmin):
    """Invoices, and the report over them."""

    def more_pages(self) -> Sequence[tuple[str, str, Callable[..., HttpResponse]]]:
        """Return the report and its download."""
        return (
            ("reports/", "reports", self.report_view),
            ("reports/usage.csv", "report_csv", self.csv_view),
            ("<str:number>.pdf", "pdf", self.pdf_view),
        )

    def pdf_view(self, request: HttpRequest, number: str) -> HttpResponse:
        """
        Send an invoice as a file.

        Raises: Http404, PermissionDenied.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            document = invoice_document(tenant=actor_of(request).tenant, number=number)
        except InvoiceUnknown as error:
            raise Http404(str(error)) from error
        reply = HttpResponse(invoice_pdf(document), content_type="application/pdf")
        reply["Content-Disposition"] = f'attachment; filename="{document.number}.pdf"'
        return reply

    def report_view(self, request: HttpRequest) -> HttpResponse:
        """Show the report."""
        form = self._report_form(request)
        rows = _rows(form)
        return self.page(
            request,
            "console/report.html",
            title="Reports",
            opts=None,
            form=form,
            rows=[_cells(row) for row in rows],
            totals=[
                (plain(t.usage), t.unit, money(t.billed, t.currency))
                for t in report_totals(rows)
            ],
            spec=_chart(rows, actor_of(request).tenant.currency),
            query=request.GET.urlencode(),
        )

    def csv_view(self, request: HttpRequest) -> HttpResponse:
        """Send the report as a file for a spreadsheet."""
        form = self._report_form(request)
        rows = _rows(form)
        if form.errors:
            return self.report_view(request)
        reply = HttpResponse(
            usage_report_csv(rows), content_type="text/csv; charset=utf-8"
        )
        reply["Content-Disposition"] = 'attachment; filename="usage.csv"'
        return reply

    def _report_form(self, request: HttpRequest) -> ReportForm:
        """
        Return the form as sent; unsent, it covers the last year.

        Raises: PermissionDenied.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied
        actor = actor_of(request)
        today = timezone.localdate(timezone=actor.tenant.zone)
        default = {
            "from_date": month_start(today, _MONTHS_SHOWN - 1).isoformat(),
            "to_date": month_start(today, -1).isoformat(),
        }
        return ReportForm(request.GET or default, actor=actor)


admin.site.register(Invoice, InvoicesAndReports)


def _rows(form: ReportForm) -> list[MonthRow]:
    """Return the report; where the dates are wrong, the form says so, and none."""
    if not form.is_valid():
        return []
    try:
        return monthly_report(tenant=form.actor.tenant, **form.cleaned_data)
    except Problem as problem:
        form.add_error(None, str(problem))
        return []


def _cells(row: MonthRow) -> dict[str, Any]:
    return {
        "account": row.account,
        "name": row.name,
        "month": row.month,
        "usage": plain(row.usage),
        "unit": row.unit,
        "billed": money(row.billed, row.currency),
        "shares": [
            f"{100 * share:.1f} %"
            for share in (row.shares.actual, row.shares.estimated, row.shares.missing)
        ],
    }


def _chart(rows: Sequence[MonthRow], currency: str) -> dict[str, Any]:
    """Return billed amounts by month; for a picture, so floats will do."""
    months: dict[date, Decimal] = defaultdict(Decimal)
    for row in rows:
        months[row.month] += row.billed
    return {
        "type": "bar",
        "unit": currency,
        "labels": [f"{month:%b %Y}" for month in sorted(months)],
        "datasets": [
            {
                "label": "Billed",
                "colour": "--gh-actual",
                "data": [float(months[month]) for month in sorted(months)],
            }
        ],
    }
