"""
What an account owes for a period, read in one snapshot and not yet written.

Everything comes from one REPEATABLE READ transaction: the days, the readings that the
digest covers and the marks of days still to be computed are of the same instant, so a
line never sums other readings than it proves. Source: docs/explanation/rating.md
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection, transaction

from billing.charges import Consumption, decode_charges
from billing.evidence import Meter, ReadingsDigest, line_evidence
from billing.models import Account, Agreement
from billing.money import minor_digits
from billing.queries.metering import (
    channel_of,
    has_pending_usage,
    readings_digest,
    usage_series,
)
from billing.rating import (
    DayUsage,
    Period,
    RatedLine,
    TariffTerm,
    UsageSeries,
    rate,
)
from ingest.models import Channel
from ingest.units import exact_sum
from tenants.database import enter_tenant
from tenants.models import Tenant
from tenants.problems import Problem


class ChannelUnknown(Problem):
    """The device has never sent the channel that the agreement bills."""

    code = "channel_unknown"


class UsagePending(Exception):
    """Readings have come whose days are not computed yet."""


@dataclass(frozen=True)
class DraftLine:
    """A rated line with its text and its proof."""

    rated: RatedLine
    description: str
    evidence: dict[str, Any]


@dataclass(frozen=True)
class Draft:
    """An invoice before it has a number."""

    currency: str
    lines: tuple[DraftLine, ...]

    @property
    def total(self) -> Decimal:
        """The sum of the rounded lines."""
        return exact_sum(line.rated.amount for line in self.lines)


@dataclass(frozen=True)
class _Metered:
    """An agreement with the usage that its lines are made of."""

    tenant: Tenant
    agreement: Agreement
    channel: Channel | None
    usage: UsageSeries

    @property
    def meter(self) -> Meter:
        """The names that go into the proof."""
        return Meter(
            device=self.agreement.device.name,
            channel=self.agreement.channel_code,
            kind=self.channel.kind if self.channel else "",
            unit=self.usage.unit,
        )

    def digest(self, line: RatedLine) -> ReadingsDigest | None:
        """Return what proves the line's quantity; None: it counts days alone."""
        if self.channel is None or not isinstance(line.charge, Consumption):
            return None
        return readings_digest(
            tenant=self.tenant, channel=self.channel, period=line.period
        )


@contextmanager
def snapshot(tenant_id: int) -> Generator[None, None, None]:
    """Open a transaction in which the tenant's rows stand still."""
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        enter_tenant(tenant_id)
        yield


def draft_invoice(*, tenant: Tenant, account: Account, period: Period) -> Draft:
    """
    Return what the account owes for the period; call it inside `snapshot`.

    Raises: UsagePending, ChannelUnknown, UnitMismatch, TariffGap, CurrencyUnknown.
    """
    agreements = agreements_of(tenant=tenant, account=account, period=period)
    if has_pending_usage(tenant=tenant, agreements=agreements, period=period):
        raise UsagePending
    digits = minor_digits(tenant.currency)
    lines = tuple(
        line
        for agreement in agreements
        for line in _agreement_lines(tenant, agreement, period, digits)
    )
    return Draft(tenant.currency, lines)


def agreements_of(
    *, tenant: Tenant, account: Account, period: Period
) -> list[Agreement]:
    """Return the account's agreements that touch the period, in a stable order."""
    found = (
        Agreement.objects.filter(
            tenant=tenant, account=account, start_date__lt=period.end
        )
        .exclude(end_date__lte=period.start)
        .select_related("device", "tariff")
        .order_by("device__name", "channel_code", "start_date")
    )
    return list(found)


def term_of(agreement: Agreement, period: Period) -> Period:
    """Return the part of the period in which the agreement holds."""
    end = agreement.end_date or period.end
    return period.overlap(Period(agreement.start_date, end))


def _agreement_lines(
    tenant: Tenant, agreement: Agreement, period: Period, digits: int
) -> list[DraftLine]:
    term = term_of(agreement, period)
    terms = _tariff_terms(tenant, agreement)
    channel = channel_of(tenant=tenant, agreement=agreement)
    usage = (
        usage_series(tenant=tenant, channel=channel, period=term)
        if channel
        else _no_usage(agreement, terms)
    )
    rated = rate(period=term, terms=terms, usage=usage, minor_digits=digits)
    metered = _Metered(tenant, agreement, channel, usage)
    return [_draft_line(metered, line) for line in rated]


def _tariff_terms(tenant: Tenant, agreement: Agreement) -> list[TariffTerm]:
    return [
        TariffTerm(
            version_id=version.pk,
            valid_from=version.valid_from_date,
            charges=decode_charges(version.charges),
        )
        for version in agreement.tariff.versions.filter(tenant=tenant)
    ]


def _no_usage(agreement: Agreement, terms: list[TariffTerm]) -> UsageSeries:
    """Return an empty series for a tariff that asks for days alone."""
    charges = [charge for term in terms for charge in term.charges]
    if any(isinstance(charge, Consumption) for charge in charges):
        raise ChannelUnknown(
            f"{agreement.device.name} has never sent channel {agreement.channel_code}."
        )
    no_days: tuple[DayUsage, ...] = ()
    return UsageSeries("", no_days)


def _draft_line(metered: _Metered, line: RatedLine) -> DraftLine:
    tariff = metered.agreement.tariff
    evidence = line_evidence(
        line,
        meter=metered.meter,
        tariff={"code": tariff.code, "name": tariff.name},
        usage=metered.usage,
        digest=metered.digest(line),
    )
    return DraftLine(line, _description(line, metered.meter), evidence)


def _description(line: RatedLine, meter: Meter) -> str:
    default = "Usage" if isinstance(line.charge, Consumption) else "Standing charge"
    text = line.charge.description or default
    return f"{text} ({meter.device})"[:300]
