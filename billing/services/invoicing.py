"""
Carrying bill runs: each account is rated in a snapshot and invoiced in a transaction.

Constraints: an account is billed once for a period, whoever runs at the same time and
whoever dies; numbers have no gaps; nothing is billed from usage that is still to be
computed. Source: docs/explanation/rating.md
"""

import logging
from datetime import datetime
from enum import Enum, auto
from uuid import UUID

from django.db import (
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)
from django.utils import timezone

from billing.constraints import broken_constraint
from billing.models import Account, Invoice, InvoiceLine
from billing.money import money_text
from billing.queries.drafts import Draft, UsagePending, draft_invoice, snapshot
from billing.queries.metering import has_pending_callbacks
from billing.queries.runs import invoice_over, open_runs
from billing.services.bill_runs import (
    Claim,
    ClaimLost,
    announce,
    claim_run,
    complete_run,
    prolong,
    record_failure,
    release_run,
)
from ingest.services.usage import recompute
from subscriptions.services.publishing import Event
from tenants.actors import platform
from tenants.database import acting_for
from tenants.doorbell import ring
from tenants.identifiers import public_id
from tenants.models import Tenant
from tenants.problems import Conflict, Problem
from tenants.services import record_audit

log = logging.getLogger(__name__)

#: Marks that a run computes at a time, and how often before an account has to wait.
_MARKS = 1000
_BATCHES = 20
_ONCE = {"invoice_period_unique", "invoice_periods_apart"}


class PeriodOverlaps(Conflict):
    """Another invoice of the account has some of the period's days."""

    code = "period_overlaps"


class AlreadyBilled(Exception):
    """The account has an invoice over these days."""


class Outcome(Enum):
    """What became of one account."""

    #: An invoice was issued, by this run now or before.
    DONE = auto()
    #: Another run has billed the period.
    SKIPPED = auto()
    #: Its usage is still being computed.
    WAITS = auto()
    FAILED = auto()


def run_bills() -> int:
    """Carry every open run as far as it goes; return how many were ended."""
    return sum(
        carry_run(tenant_id=tenant_id, run_id=run_id)
        for tenant_id, run_id in open_runs()
    )


def carry_run(*, tenant_id: int, run_id: UUID) -> bool:
    """Bill the accounts of one run; False: it waits, or another worker has it."""
    claim = claim_run(tenant_id=tenant_id, run_id=run_id)
    if claim is None:
        return False
    try:
        if _must_wait(claim):
            release_run(claim)
            return False
        complete_run(claim, now=timezone.now())
    except ClaimLost:
        log.warning("Bill run %s was taken over by another worker.", claim.run_id)
        return False
    return True


def _must_wait(claim: Claim) -> bool:
    """Bill all accounts that can be; True: some, or all, have to wait."""
    with acting_for(claim.tenant):
        waits = has_pending_callbacks(tenant=claim.tenant, until=claim.requested_at)
    if waits:
        ring("ingest.process")
        return True
    outcomes = {bill_account(claim, account_id) for account_id in claim.account_ids}
    return Outcome.WAITS in outcomes


def bill_account(claim: Claim, account_id: int) -> Outcome:
    """
    Rate one account and issue its invoice.

    Raises: ClaimLost.
    """
    with acting_for(claim.tenant):
        account = Account.objects.get(tenant=claim.tenant, pk=account_id)
    try:
        return _bill(claim, account)
    except Problem as error:
        code, detail = error.code, str(error)
    except (ClaimLost, OperationalError, InterfaceError):
        raise
    except Exception:
        # One account's failure is on the run's page; the others are billed.
        log.exception("Account %s of %s", account.number, claim.run_id)
        code, detail = "billing_failed", "An error of the platform; its log has more."
    record_failure(claim, account=account.number, code=code, detail=detail)
    return Outcome.FAILED


def _bill(claim: Claim, account: Account) -> Outcome:
    if (settled := _settled(claim, account)) is not None:
        return settled
    try:
        draft = _current_draft(claim, account)
    except UsagePending:
        ring("ingest.recompute_usage")
        return Outcome.WAITS
    try:
        issue_invoice(claim, account, draft, now=timezone.now())
    except AlreadyBilled:
        return _settled(claim, account) or Outcome.WAITS
    return Outcome.DONE


def _current_draft(claim: Claim, account: Account) -> Draft:
    """
    Return what the account owes, after computing usage that is behind.

    Raises: UsagePending: another worker is at it, or there is too much of it.
    """
    try:
        return _draft(claim, account)
    except UsagePending:
        _compute_usage()
        return _draft(claim, account)


def _draft(claim: Claim, account: Account) -> Draft:
    with snapshot(claim.tenant.pk):
        return draft_invoice(tenant=claim.tenant, account=account, period=claim.period)


def _compute_usage() -> None:
    for _ in range(_BATCHES):
        if recompute(_MARKS) == 0:
            return


def _settled(claim: Claim, account: Account) -> Outcome | None:
    """
    Return what an invoice that is there means for the run; None: there is none.

    Raises: PeriodOverlaps, ClaimLost.
    """
    with acting_for(claim.tenant):
        existing = invoice_over(
            tenant=claim.tenant, account=account, period=claim.period
        )
        if existing is None:
            return None
        if existing.bill_run_id == claim.run_id:
            return Outcome.DONE
        period = claim.period
        if (existing.period_start, existing.period_end) != (period.start, period.end):
            raise PeriodOverlaps(
                f"Invoice {existing.number} bills {existing.period_start} to "
                f"{existing.period_end}."
            )
        prolong(claim, skipped=1)
        return Outcome.SKIPPED


def issue_invoice(
    claim: Claim, account: Account, draft: Draft, *, now: datetime
) -> Invoice:
    """
    Write the invoice, its lines, its audit entry and its event, or nothing.

    Raises: AlreadyBilled, ClaimLost.
    """
    with acting_for(claim.tenant):
        prolong(claim, done=1)
        try:
            with transaction.atomic():
                invoice = _insert(claim, account, draft, now)
        except IntegrityError as error:
            if broken_constraint(error) in _ONCE:
                raise AlreadyBilled from error
            raise
        record_audit(
            actor=platform(claim.tenant),
            action="invoice.issued",
            subject=invoice.number,
            detail={
                "account": account.number,
                "bill_run": public_id("run", claim.run_id),
            },
        )
        announce([_issued_event(claim, account, invoice, now)])
        return invoice


def _insert(claim: Claim, account: Account, draft: Draft, now: datetime) -> Invoice:
    invoice = Invoice.objects.create(
        tenant=claim.tenant,
        number=_next_number(claim.tenant),
        bill_run_id=claim.run_id,
        account=account,
        period_start=claim.period.start,
        period_end=claim.period.end,
        currency=draft.currency,
        total=draft.total,
        parties=_parties(claim.tenant, account),
        issued_at=now,
    )
    InvoiceLine.objects.bulk_create(
        InvoiceLine(
            tenant=claim.tenant,
            invoice=invoice,
            position=position,
            description=line.description,
            period_start=line.rated.period.start,
            period_end=line.rated.period.end,
            quantity=line.rated.quantity,
            unit=line.rated.unit,
            unit_price=line.rated.unit_price,
            amount=line.rated.amount,
            evidence=line.evidence,
        )
        for position, line in enumerate(draft.lines, start=1)
    )
    return invoice


def _next_number(tenant: Tenant) -> str:
    """
    Return the next invoice number; the counter's row is locked until the commit.

    A rolled back invoice gives its number back, so there are no gaps.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO billing_invoicecounter AS counter (tenant_id, last_number)
            VALUES (%s, 1) ON CONFLICT (tenant_id)
            DO UPDATE SET last_number = counter.last_number + 1
            RETURNING last_number""",
            [tenant.pk],
        )
        (number,) = cursor.fetchone()
    return f"INV-{number:06d}"


def _parties(tenant: Tenant, account: Account) -> dict[str, dict[str, str]]:
    return {
        "tenant": {
            "slug": tenant.slug,
            "name": tenant.name,
            "timezone": tenant.timezone,
        },
        "account": {
            "number": account.number,
            "name": account.name,
            "address": account.address,
        },
    }


def _issued_event(
    claim: Claim, account: Account, invoice: Invoice, now: datetime
) -> Event:
    return Event(
        tenant_id=claim.tenant.pk,
        tenant_slug=claim.tenant.slug,
        event_type="invoice.issued",
        data={
            "number": invoice.number,
            "account": account.number,
            "bill_run": public_id("run", claim.run_id),
            "period_start": invoice.period_start.isoformat(),
            "period_end": invoice.period_end.isoformat(),
            "currency": invoice.currency,
            "total": money_text(invoice.total, invoice.currency),
        },
        occurred_at=now,
    )
