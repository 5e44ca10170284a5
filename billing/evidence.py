"""
What a line keeps as its proof, frozen with the invoice.

A consumption line carries the days it sums, how well they are known, and the digest of
the readings behind them; anyone with the readings can make the digest again.
Source: docs/explanation/rating.md
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from billing.charges import Consumption
from billing.money import round_money
from billing.rating import DayUsage, RatedLine, UsageSeries
from ingest.units import plain

_SHARE_DIGITS = 6


@dataclass(frozen=True)
class Shares:
    """Parts of a span of time whose values are actual, estimated and missing."""

    actual: Decimal
    estimated: Decimal
    missing: Decimal

    def texts(self) -> dict[str, str]:
        """Return the parts as JSON keeps them."""
        return {
            "actual": plain(self.actual),
            "estimated": plain(self.estimated),
            "missing": plain(self.missing),
        }


@dataclass(frozen=True)
class Meter:
    """The channel that a line is about, by the names that people use."""

    device: str
    channel: str
    kind: str
    unit: str


@dataclass(frozen=True)
class ReadingsDigest:
    """How many readings made a quantity, and the SHA-256 over them."""

    count: int
    sha256: str


def shares_of_time(*, expected_s: int, actual_s: int, estimated_s: int) -> Shares:
    """Return the parts, to six decimals; together they are one."""
    if expected_s <= 0:
        return Shares(Decimal(0), Decimal(0), Decimal(0))
    actual = _part(actual_s, expected_s)
    estimated = min(_part(estimated_s, expected_s), 1 - actual)
    return Shares(actual, estimated, 1 - actual - estimated)


def shares_of(series: UsageSeries) -> Shares:
    """Return how well the series is known as a whole."""
    return shares_of_time(
        expected_s=sum(day.expected_s for day in series.days),
        actual_s=sum(day.actual_s for day in series.days),
        estimated_s=sum(day.estimated_s for day in series.days),
    )


def line_evidence(
    line: RatedLine,
    *,
    meter: Meter,
    tariff: dict[str, Any],
    usage: UsageSeries,
    digest: ReadingsDigest | None,
) -> dict[str, Any]:
    """Return the proof of one line, for JSON: numbers as exact text."""
    evidence: dict[str, Any] = {
        "type": "consumption" if isinstance(line.charge, Consumption) else "standing",
        "device": meter.device,
        "channel": meter.channel,
        "kind": meter.kind,
        "unit": meter.unit,
        "tariff": {
            **tariff,
            "version_id": line.version_id,
            "valid_from_date": line.valid_from.isoformat(),
        },
    }
    if digest is None:
        return {**evidence, "day_count": line.period.day_count}
    series = usage.within(line.period)
    return {
        **evidence,
        "reading_count": digest.count,
        "digest": f"sha256:{digest.sha256}",
        "shares": shares_of(series).texts(),
        "days": [_day_row(day) for day in series.days],
    }


def _day_row(day: DayUsage) -> list[str]:
    """Return date, value and the three shares."""
    shares = shares_of(UsageSeries("", (day,)))
    return [day.day.isoformat(), plain(day.value), *shares.texts().values()]


def _part(seconds: int, whole_s: int) -> Decimal:
    return min(
        Decimal(1), round_money(Decimal(max(0, seconds)) / whole_s, _SHARE_DIGITS)
    )
