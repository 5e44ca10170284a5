"""Writes about agreements: who pays for which channel, by which tariff, and when."""

from dataclasses import dataclass
from datetime import date

from django.db import IntegrityError, transaction

from billing.constraints import broken_constraint
from billing.models import Account, Agreement, Tariff
from ingest.models import Device
from tenants.actors import Actor
from tenants.models import Tenant
from tenants.problems import Conflict, Problem
from tenants.services import record_audit


class AgreementOverlaps(Conflict):
    """The channel is billed to an account on some of these days already."""

    code = "agreement_overlaps"


class AgreementPeriodEmpty(Problem):
    """The agreement ends before it begins."""

    code = "agreement_period_empty"


@dataclass(frozen=True)
class Terms:
    """What is agreed: the channel, the tariff, and the dates, `[start, end)`."""

    device: Device
    tariff: Tariff
    start_date: date
    end_date: date | None = None
    channel_code: str = "main"


@transaction.atomic
def create_agreement(
    *, tenant: Tenant, actor: Actor, account: Account, terms: Terms
) -> Agreement:
    """
    Bill a channel to an account from a day on.

    Raises: AgreementOverlaps, AgreementPeriodEmpty.
    """
    try:
        with transaction.atomic():
            agreement = Agreement.objects.create(
                tenant=tenant,
                account=account,
                device=terms.device,
                channel_code=terms.channel_code,
                tariff=terms.tariff,
                start_date=terms.start_date,
                end_date=terms.end_date,
            )
    except IntegrityError as error:
        raise _domain_error(error) from error
    record_audit(
        actor=actor,
        action="agreement.created",
        subject=account.number,
        detail=_detail(agreement),
    )
    return agreement


@transaction.atomic
def end_agreement(
    *, tenant: Tenant, actor: Actor, agreement: Agreement, end_date: date
) -> Agreement:
    """
    Set the first day on which the agreement no longer holds.

    Raises: AgreementOverlaps, AgreementPeriodEmpty.
    """
    mine = Agreement.objects.filter(tenant=tenant, pk=agreement.pk)
    try:
        with transaction.atomic():
            mine.update(end_date=end_date)
    except IntegrityError as error:
        raise _domain_error(error) from error
    ended = mine.select_related("account", "device", "tariff").get()
    record_audit(
        actor=actor,
        action="agreement.ended",
        subject=ended.account.number,
        detail=_detail(ended),
    )
    return ended


def _domain_error(error: IntegrityError) -> Exception:
    """Return what the broken constraint means; the error itself where it says more."""
    match broken_constraint(error):
        case "agreement_periods_apart":
            return AgreementOverlaps(
                "The channel is billed to an account on some of these days already."
            )
        case "agreement_period_not_empty":
            return AgreementPeriodEmpty("An agreement ends after the day it starts on.")
    return error


def _detail(agreement: Agreement) -> dict[str, str | None]:
    return {
        "device": agreement.device.name,
        "channel": agreement.channel_code,
        "tariff": agreement.tariff.code,
        "start_date": agreement.start_date.isoformat(),
        "end_date": agreement.end_date.isoformat() if agreement.end_date else None,
    }
