"""
From usage and a tariff to priced lines: pure, exact, and the same every time.

Constraints: each day of the period is priced once, by the version in force on it; the
quantity is the exact sum of the days; each line is rounded once, half-up, to the
currency's minor unit. Design: cut the period where a version begins, then ask each
charge for its lines. Source: docs/explanation/rating.md
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Context, Decimal, Inexact, localcontext
from typing import Any

from billing.charges import Charge, Consumption, Standing
from billing.money import round_money
from tenants.problems import Problem

#: Sums and products are exact, or they raise.
_EXACT = Context(prec=200, traps=[Inexact])


class UnitMismatch(Problem):
    """The channel is not measured in the unit that the tariff prices."""

    code = "unit_mismatch"


class TariffGap(Problem):
    """No version of the tariff is in force on some day of the period."""

    code = "tariff_gap"


@dataclass(frozen=True)
class Period:
    """Local dates, `[start, end)`."""

    start: date
    end: date

    @property
    def day_count(self) -> int:
        """How many local days there are; none when the end is not after the start."""
        return max(0, (self.end - self.start).days)

    def overlap(self, other: "Period") -> "Period":
        """Return what both have in common; it may be empty."""
        return Period(max(self.start, other.start), min(self.end, other.end))

    def days(self) -> list[date]:
        """Return each day."""
        return [self.start + timedelta(days=n) for n in range(self.day_count)]


@dataclass(frozen=True)
class DayUsage:
    """What was used on one local day, and how well that is known."""

    day: date
    value: Decimal
    expected_s: int
    actual_s: int = 0
    estimated_s: int = 0
    reading_count: int = 0


@dataclass(frozen=True)
class UsageSeries:
    """A channel's usage, a slot for each day that is billed."""

    unit: str
    days: tuple[DayUsage, ...]

    def within(self, period: Period) -> "UsageSeries":
        """Return the part of the series that lies in the period."""
        days = tuple(d for d in self.days if period.start <= d.day < period.end)
        return UsageSeries(self.unit, days)

    def total(self) -> Decimal:
        """Return the exact sum."""
        with localcontext(_EXACT):
            return sum((day.value for day in self.days), Decimal(0))


@dataclass(frozen=True)
class TariffTerm:
    """A tariff version as rating needs it: since when, and its charges."""

    version_id: int
    valid_from: date
    charges: tuple[Charge, ...]


@dataclass(frozen=True)
class RatedLine:
    """One charge over one period: quantity times price, rounded once."""

    charge: Charge
    version_id: int
    valid_from: date
    period: Period
    quantity: Decimal
    unit: str
    unit_price: Decimal
    amount: Decimal


@dataclass(frozen=True)
class _Slice:
    """A part of the period under one version of the tariff."""

    period: Period
    term: TariffTerm
    minor_digits: int


def rate(
    *,
    period: Period,
    terms: Sequence[TariffTerm],
    usage: UsageSeries,
    minor_digits: int,
) -> list[RatedLine]:
    """
    Return the lines of the period, by version and charge.

    Raises: TariffGap: days before the first version. UnitMismatch.
    """
    return [
        line
        for part, term in split_by_version(period, terms)
        for charge in term.charges
        for line in rate_charge(charge, usage, _Slice(part, term, minor_digits))
    ]


def split_by_version(
    period: Period, terms: Sequence[TariffTerm]
) -> list[tuple[Period, TariffTerm]]:
    """
    Cut the period where a version begins.

    Raises: TariffGap: the period begins before every version.
    """
    if period.day_count == 0:
        return []
    ordered = sorted(terms, key=lambda term: term.valid_from)
    if not ordered or ordered[0].valid_from > period.start:
        raise TariffGap(f"No version of the tariff is in force on {period.start}.")
    ends = [term.valid_from for term in ordered[1:]] + [date.max]
    parts = [
        (period.overlap(Period(term.valid_from, end)), term)
        for term, end in zip(ordered, ends, strict=True)
    ]
    return [(part, term) for part, term in parts if part.day_count]


def rate_charge(charge: Charge, usage: UsageSeries, part: _Slice) -> list[RatedLine]:
    """Return the charge's lines over one part of the period."""
    return RATES[type(charge)](charge, usage, part)


def _rate_consumption(
    charge: Consumption, usage: UsageSeries, part: _Slice
) -> list[RatedLine]:
    if usage.unit != charge.unit:
        raise UnitMismatch(
            f"The tariff prices {charge.unit}, the channel is measured in "
            f"{usage.unit or 'no unit'}."
        )
    quantity = usage.within(part.period).total()
    return [_line(charge, part, (quantity, charge.unit, charge.unit_price))]


def _rate_standing(
    charge: Standing, usage: UsageSeries, part: _Slice
) -> list[RatedLine]:
    days = Decimal(part.period.day_count)
    return [_line(charge, part, (days, "day", charge.price_per_day))]


#: How each kind of charge is rated; what it needs of the series is its own business.
RATES: dict[type, Callable[[Any, UsageSeries, _Slice], list[RatedLine]]] = {
    Consumption: _rate_consumption,
    Standing: _rate_standing,
}


def _line(
    charge: Charge, part: _Slice, priced: tuple[Decimal, str, Decimal]
) -> RatedLine:
    quantity, unit, unit_price = priced
    return RatedLine(
        charge=charge,
        version_id=part.term.version_id,
        valid_from=part.term.valid_from,
        period=part.period,
        quantity=quantity,
        unit=unit,
        unit_price=unit_price,
        amount=round_money(_EXACT.multiply(quantity, unit_price), part.minor_digits),
    )
