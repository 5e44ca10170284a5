"""Asking for bill runs in tests, carrying them, and reading what they made."""

from datetime import UTC, date, datetime
from uuid import UUID

from billing.models import BillRun, Invoice, InvoiceLine
from billing.services.bill_runs import Claim, claim_run, request_bill_run
from billing.services.invoicing import carry_run
from tenants.actors import operator
from tenants.database import acting_for
from tenants.models import Tenant

JULY = (date(2016, 7, 1), date(2016, 8, 1))


def request_run(
    tenant: Tenant,
    period: tuple[date, date] = JULY,
    *,
    endpoint_id: UUID | None = None,
) -> BillRun:
    with acting_for(tenant):
        return request_bill_run(
            tenant=tenant,
            actor=operator(tenant),
            period_start=period[0],
            period_end=period[1],
            callback_endpoint_id=endpoint_id,
        )


def carry(run: BillRun) -> BillRun:
    carry_run(tenant_id=run.tenant_id, run_id=run.pk)
    return reread(run)


def reread(run: BillRun) -> BillRun:
    with acting_for(run.tenant_id):
        return BillRun.objects.get(tenant_id=run.tenant_id, pk=run.pk)


def lines_of(tenant: Tenant) -> list[InvoiceLine]:
    with acting_for(tenant):
        lines = InvoiceLine.objects.filter(tenant=tenant)
        return list(lines.order_by("invoice__number", "position"))


def invoices_of(tenant: Tenant) -> list[Invoice]:
    with acting_for(tenant):
        return list(Invoice.objects.filter(tenant=tenant).order_by("number"))


def held(run: BillRun) -> Claim:
    claim = claim_run(tenant_id=run.tenant_id, run_id=run.pk)
    assert claim is not None
    return claim


def expire_lease(run: BillRun) -> None:
    with acting_for(run.tenant_id):
        BillRun.objects.filter(tenant_id=run.tenant_id, pk=run.pk).update(
            lease_until=datetime(2020, 1, 1, tzinfo=UTC)
        )
