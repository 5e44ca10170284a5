"""
Bill runs: asked for by a person, claimed by a worker, carried on after a crash.

A claim is a lease and a fencing token on the run's row. Every write of a run names the
token: a worker whose lease was taken over writes nothing more. Accounts are billed one
by one, each in its own transaction; the invoices themselves are the memory of how far
a run came. Source: docs/explanation/rating.md
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from billing.models import BillRun, BillRunStatus
from billing.queries.runs import accounts_to_bill, invoices_of_run
from billing.rating import Period
from subscriptions.models import Endpoint
from subscriptions.services.publishing import Event, publish
from tenants.actors import Actor, platform
from tenants.database import acting_for
from tenants.doorbell import ring_after_commit
from tenants.identifiers import new_id
from tenants.models import Tenant
from tenants.problems import Problem
from tenants.services import record_audit

#: A worker that is not heard of for this long has lost its run.
LEASE_S = 60
#: The longest period that is billed at once.
PERIOD_LIMIT_DAYS = 400
#: Errors that a run keeps word for word; the rest are counted.
ERRORS_KEPT = 1000
OPEN = (BillRunStatus.QUEUED, BillRunStatus.RUNNING)


class PeriodInvalid(Problem):
    """The period is empty, or longer than a run may be."""

    code = "period_invalid"


class PeriodNotOver(Problem):
    """The period has days that are not over in the tenant's zone."""

    code = "period_not_over"


class EndpointUnknown(Problem):
    """There is no such endpoint in this tenant."""

    code = "endpoint_unknown"


class ClaimLost(Exception):
    """Another worker has the run, or it is over: nothing more may be written."""


@dataclass(frozen=True)
class Claim:
    """A worker's hold on a run."""

    tenant: Tenant
    run_id: UUID
    token: UUID
    period: Period
    requested_at: datetime
    #: The accounts that the run has not invoiced yet.
    account_ids: tuple[int, ...]


@transaction.atomic
def request_bill_run(
    *,
    tenant: Tenant,
    actor: Actor,
    period_start: date,
    period_end: date,
    callback_endpoint_id: UUID | None = None,
    now: datetime | None = None,
) -> BillRun:
    """
    Ask for the invoices of a period, `[period_start, period_end)`; a worker makes them.

    Raises: PeriodInvalid, PeriodNotOver, EndpointUnknown.
    """
    today = (now or timezone.now()).astimezone(tenant.zone).date()
    _check_period(Period(period_start, period_end), today)
    if callback_endpoint_id is not None:
        _check_endpoint(tenant, callback_endpoint_id)
    run = BillRun.objects.create(
        tenant=tenant,
        period_start=period_start,
        period_end=period_end,
        callback_endpoint_id=callback_endpoint_id,
    )
    run.refresh_from_db(fields=["created_at"])
    record_audit(
        actor=actor,
        action="bill_run.requested",
        subject=run.public_id,
        detail={"period_start": str(period_start), "period_end": str(period_end)},
    )
    ring_after_commit("billing.run_bills")
    return run


def claim_run(*, tenant_id: int, run_id: UUID) -> Claim | None:
    """Take hold of a run; None: another worker has it, or it is over."""
    token = new_id()
    with acting_for(tenant_id):
        free = Q(lease_until__isnull=True) | Q(lease_until__lt=Now())
        taken = BillRun.objects.filter(
            free, tenant_id=tenant_id, pk=run_id, status__in=OPEN
        ).update(
            status=BillRunStatus.RUNNING,
            claim_id=token,
            lease_until=Now() + timedelta(seconds=LEASE_S),
        )
        if not taken:
            return None
        run = BillRun.objects.select_related("tenant").get(
            tenant_id=tenant_id, pk=run_id
        )
        return _begin(run, token)


def _begin(run: BillRun, token: UUID) -> Claim:
    """Count afresh: what an earlier worker wrote is what its invoices say."""
    period = Period(run.period_start, run.period_end)
    billed = invoices_of_run(tenant=run.tenant, run=run)
    done = set(billed.values_list("account_id", flat=True))
    accounts = accounts_to_bill(tenant=run.tenant, period=period)
    left = tuple(account for account in accounts if account not in done)
    BillRun.objects.filter(tenant=run.tenant, pk=run.pk, claim_id=token).update(
        account_count=len(left) + len(done),
        done_count=len(done),
        skipped_count=0,
        failed_count=0,
        errors=[],
    )
    return Claim(run.tenant, run.pk, token, period, run.created_at, left)


def prolong(claim: Claim, *, done: int = 0, skipped: int = 0) -> None:
    """
    Count an account and renew the lease, in the transaction that is open.

    Raises: ClaimLost.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE billing_billrun
            SET done_count = done_count + %s, skipped_count = skipped_count + %s,
                lease_until = clock_timestamp() + make_interval(secs => %s)
            WHERE tenant_id = %s AND id = %s AND claim_id = %s""",
            [done, skipped, LEASE_S, claim.tenant.pk, claim.run_id, claim.token],
        )
        if cursor.rowcount == 0:
            raise ClaimLost


def record_failure(claim: Claim, *, account: str, code: str, detail: str) -> None:
    """
    Write down why an account was not billed; the run goes on.

    Raises: ClaimLost.
    """
    with acting_for(claim.tenant), connection.cursor() as cursor:
        cursor.execute(
            """UPDATE billing_billrun
            SET failed_count = failed_count + 1,
                errors = CASE WHEN failed_count < %s THEN errors
                    || jsonb_build_array(jsonb_build_object(
                        'account', %s::text, 'code', %s::text, 'detail', %s::text))
                    ELSE errors END,
                lease_until = clock_timestamp() + make_interval(secs => %s)
            WHERE tenant_id = %s AND id = %s AND claim_id = %s""",
            [
                ERRORS_KEPT,
                account,
                code,
                detail,
                LEASE_S,
                claim.tenant.pk,
                claim.run_id,
                claim.token,
            ],
        )
        if cursor.rowcount == 0:
            raise ClaimLost


def release_run(claim: Claim) -> None:
    """Let go of a run that has to wait; the sweep takes it up again."""
    with acting_for(claim.tenant):
        BillRun.objects.filter(
            tenant=claim.tenant, pk=claim.run_id, claim_id=claim.token
        ).update(claim_id=None, lease_until=None)


def complete_run(claim: Claim, *, now: datetime) -> None:
    """
    End a run and tell whoever asked.

    Raises: ClaimLost.
    """
    with acting_for(claim.tenant):
        prolong(claim)
        run = BillRun.objects.get(tenant=claim.tenant, pk=claim.run_id)
        billed_none = run.failed_count and not run.done_count + run.skipped_count
        run.status = BillRunStatus.FAILED if billed_none else BillRunStatus.COMPLETED
        run.claim_id = run.lease_until = None
        run.completed_at = now
        run.save(update_fields=["status", "claim_id", "lease_until", "completed_at"])
        record_audit(
            actor=platform(claim.tenant),
            action="bill_run.completed",
            subject=run.public_id,
            detail=_outcome(run),
        )
        announce([_completed_event(claim.tenant, run, now)])


def announce(events: list[Event]) -> None:
    """Publish events in the transaction that is open, and ring when somebody hears."""
    with connection.cursor() as cursor:
        if publish(cursor, events):
            ring_after_commit("subscriptions.deliver")


def _completed_event(tenant: Tenant, run: BillRun, now: datetime) -> Event:
    """Return the event for all who asked, the run's own endpoint among them."""
    return Event(
        tenant_id=tenant.pk,
        tenant_slug=tenant.slug,
        event_type="bill_run.completed",
        data={"id": run.public_id, **_outcome(run)},
        occurred_at=now,
        also_endpoint_id=run.callback_endpoint_id,
    )


def _outcome(run: BillRun) -> dict[str, str | int]:
    return {
        "status": run.status,
        "period_start": run.period_start.isoformat(),
        "period_end": run.period_end.isoformat(),
        "account_count": run.account_count,
        "done_count": run.done_count,
        "skipped_count": run.skipped_count,
        "failed_count": run.failed_count,
    }


def _check_period(period: Period, today: date) -> None:
    if not 0 < period.day_count <= PERIOD_LIMIT_DAYS:
        raise PeriodInvalid(
            f"A period starts before it ends and has {PERIOD_LIMIT_DAYS} days at most."
        )
    if period.end > today:
        raise PeriodNotOver(
            f"The period's last day is over on {period.end}; here it is {today}."
        )


def _check_endpoint(tenant: Tenant, endpoint_id: UUID) -> None:
    found = Endpoint.objects.filter(
        tenant=tenant, pk=endpoint_id, deleted_at__isnull=True
    )
    if not found.exists():
        raise EndpointUnknown("There is no such endpoint.")
