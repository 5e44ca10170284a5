"""What lists of billing are asked by: the numbers and codes that people know."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django_filters import rest_framework as filters

from billing.models import Agreement, BillRun, Invoice
from tenants.identifiers import IdentifierInvalid, parse_public_id


class AgreementFilter(filters.FilterSet):
    """Agreements of an account, a device, a tariff."""

    account = filters.CharFilter("account__number")
    device = filters.CharFilter("device__name")
    tariff = filters.CharFilter("tariff__code")

    class Meta:
        model = Agreement
        fields: list[str] = []


class BillRunFilter(filters.FilterSet):
    """Bill runs by status."""

    status = filters.CharFilter()

    class Meta:
        model = BillRun
        fields: list[str] = []


class InvoiceFilter(filters.FilterSet):
    """Invoices of an account, a period, a bill run."""

    account = filters.CharFilter("account__number")
    bill_run = filters.CharFilter(method="of_bill_run")
    period_start = filters.DateFilter()
    period_end = filters.DateFilter()

    class Meta:
        model = Invoice
        fields: list[str] = []

    def of_bill_run(
        self, invoices: QuerySet[Invoice], name: str, value: Any
    ) -> QuerySet[Invoice]:
        """Keep the invoices of one run; an id that is none keeps none."""
        return invoices.filter(bill_run_id=run_id_of(value))


def run_id_of(text: str) -> UUID:
    """Return the id behind `run_…`; of something else, an id that no run has."""
    try:
        return parse_public_id("run", text)
    except IdentifierInvalid:
        return UUID(int=0)
