"""Reading about bill runs: which are open, whom they bill, what they made."""

from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet

from billing.models import Account, Agreement, BillRun, Invoice
from billing.rating import Period
from tenants.database import pipeline
from tenants.models import Tenant

#: Runs that one sweep takes up; the next sweep sees the others.
_SWEEP_LIMIT = 100


def open_runs() -> list[tuple[int, UUID]]:
    """Return tenant and id of the runs that no worker has, in every tenant."""
    with pipeline() as lane:
        # Served by bill_run_open; tenants take turns by age.
        rows = lane.execute(
            """SELECT tenant_id, id FROM billing_billrun
            WHERE status IN ('queued', 'running')
                AND (lease_until IS NULL OR lease_until < now())
            ORDER BY created_at LIMIT %s""",
            [_SWEEP_LIMIT],
        ).fetchall()
    return [(tenant_id, run_id) for tenant_id, run_id in rows]


def accounts_to_bill(*, tenant: Tenant, period: Period) -> list[int]:
    """Return the accounts with an agreement in the period, by number."""
    agreements = Agreement.objects.filter(
        tenant=tenant, account=OuterRef("pk"), start_date__lt=period.end
    ).exclude(end_date__lte=period.start)
    accounts = Account.objects.filter(Exists(agreements), tenant=tenant)
    return list(accounts.order_by("number").values_list("pk", flat=True))


def invoices_of_run(*, tenant: Tenant, run: BillRun) -> QuerySet[Invoice]:
    """Return what the run has issued, by number."""
    return Invoice.objects.filter(tenant=tenant, bill_run=run).order_by("pk")


def invoice_over(*, tenant: Tenant, account: Account, period: Period) -> Invoice | None:
    """Return an invoice of the account with days of the period, if there is one."""
    return (
        Invoice.objects.filter(
            tenant=tenant,
            account=account,
            period_start__lt=period.end,
            period_end__gt=period.start,
        )
        .order_by("period_start")
        .first()
    )
