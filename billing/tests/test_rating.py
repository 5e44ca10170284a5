from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.charges import Charge, Consumption, Standing
from billing.money import round_money
from billing.rating import (
    DayUsage,
    Period,
    RatedLine,
    TariffGap,
    TariffTerm,
    UnitMismatch,
    UsageSeries,
    rate,
    split_by_version,
)

KWH = Consumption(unit_price=Decimal("0.25"), unit="kWh")
DAILY = Standing(price_per_day=Decimal("0.10"))
JULY = Period(date(2016, 7, 1), date(2016, 8, 1))


def series(period: Period, value: str, unit: str = "kWh") -> UsageSeries:
    days = tuple(DayUsage(day, Decimal(value), 86_400) for day in period.days())
    return UsageSeries(unit, days)


def term(day: date, *charges: Charge, version_id: int = 1) -> TariffTerm:
    return TariffTerm(version_id, day, charges)


def amounts(lines: list[RatedLine]) -> list[tuple[str, str]]:
    return [(str(line.quantity), str(line.amount)) for line in lines]


def test_july_of_an_opengrid_household_is_priced_to_the_cent() -> None:
    # 9afa used 248.8822 kWh in July 2016: 62.22055 rounds to 62.22; 31 days are 3.10.
    usage = UsageSeries("kWh", (DayUsage(JULY.start, Decimal("248.8822"), 86_400),))
    lines = rate(
        period=JULY,
        terms=[term(date(2016, 1, 1), KWH, DAILY)],
        usage=usage,
        minor_digits=2,
    )
    assert amounts(lines) == [("248.8822", "62.22"), ("31", "3.10")]


# Quantities and amounts by hand: 31 days x 0.5 = 15.5; x 0.25 = 3.875.
@pytest.mark.parametrize(
    ("price", "digits", "expected"),
    [
        ("0.25", 2, "3.88"),
        ("0.25", 0, "4"),
        ("0.25", 3, "3.875"),
        ("-0.25", 2, "-3.88"),
        ("0.1", 2, "1.55"),
        ("0.01", 2, "0.16"),
        ("0.000001", 2, "0.00"),
        ("1", 0, "16"),
    ],
)
def test_a_line_is_rounded_once_half_up_to_the_minor_unit(
    price: str, digits: int, expected: str
) -> None:
    charge = Consumption(unit_price=Decimal(price), unit="kWh")
    (line,) = rate(
        period=JULY,
        terms=[term(JULY.start, charge)],
        usage=series(JULY, "0.5"),
        minor_digits=digits,
    )
    assert str(line.amount) == expected


def test_a_new_version_inside_the_month_splits_each_charge() -> None:
    dearer = Consumption(unit_price=Decimal("0.30"), unit="kWh")
    terms = [
        term(date(2016, 1, 1), KWH, DAILY, version_id=1),
        term(date(2016, 7, 11), dearer, DAILY, version_id=2),
    ]
    lines = rate(period=JULY, terms=terms, usage=series(JULY, "2"), minor_digits=2)
    # 10 days x 2 kWh x 0.25 = 5.00; 10 x 0.10; 21 x 2 x 0.30 = 12.60; 21 x 0.10.
    assert amounts(lines) == [
        ("20", "5.00"),
        ("10", "1.00"),
        ("42", "12.60"),
        ("21", "2.10"),
    ]
    assert [line.version_id for line in lines] == [1, 1, 2, 2]
    assert lines[2].period == Period(date(2016, 7, 11), date(2016, 8, 1))


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [
        (date(2016, 3, 1), date(2016, 4, 1), "31"),
        (date(2016, 10, 1), date(2016, 11, 1), "31"),
        (date(2016, 2, 1), date(2016, 3, 1), "29"),
        (date(2017, 2, 1), date(2017, 3, 1), "28"),
    ],
)
def test_a_standing_charge_counts_local_days_in_dst_and_leap_months(
    start: date, end: date, days: str
) -> None:
    period = Period(start, end)
    (line,) = rate(
        period=period,
        terms=[term(date(2016, 1, 1), DAILY)],
        usage=series(period, "1"),
        minor_digits=2,
    )
    assert str(line.quantity) == days


def test_an_empty_period_has_no_lines() -> None:
    nothing = Period(JULY.start, JULY.start)
    assert (
        rate(period=nothing, terms=[], usage=series(nothing, "1"), minor_digits=2) == []
    )


def test_days_before_the_first_version_cannot_be_priced() -> None:
    with pytest.raises(TariffGap, match="2016-07-01"):
        rate(
            period=JULY,
            terms=[term(date(2016, 7, 2), KWH)],
            usage=series(JULY, "1"),
            minor_digits=2,
        )


def test_litres_are_not_priced_as_kilowatt_hours() -> None:
    with pytest.raises(UnitMismatch, match="m3"):
        rate(
            period=JULY,
            terms=[term(JULY.start, KWH)],
            usage=series(JULY, "1", unit="m3"),
            minor_digits=2,
        )


def test_a_sum_of_38_digits_loses_none() -> None:
    big, tiny = Decimal("9" * 38), Decimal("1e-20")
    days = (DayUsage(JULY.start, big, 1), DayUsage(date(2016, 7, 2), tiny, 1))
    assert UsageSeries("kWh", days).total() == Decimal(f"{'9' * 38}.{'0' * 19}1")


first_days = st.dates(date(2015, 12, 1), date(2017, 3, 1))
values = st.decimals("-1000", "1000", places=6, allow_nan=False)


@given(first_days, st.lists(values, min_size=1, max_size=60), st.data())
def test_versions_never_lose_or_double_a_day(
    start: date, found: list[Decimal], data: st.DataObject
) -> None:
    period = Period(start, start + timedelta(days=len(found)))
    offsets = data.draw(st.sets(st.integers(1, len(found) + 3), max_size=4))
    terms = [
        term(start + timedelta(days=n), KWH, DAILY, version_id=n)
        for n in sorted({0, *offsets})
    ]
    days = tuple(
        DayUsage(day, value, 86_400)
        for day, value in zip(period.days(), found, strict=True)
    )
    parts = [part for part, _ in split_by_version(period, terms)]
    assert [day for part in parts for day in part.days()] == period.days()
    lines = rate(
        period=period, terms=terms, usage=UsageSeries("kWh", days), minor_digits=2
    )
    used = [line.quantity for line in lines if line.unit == "kWh"]
    assert sum(used) == sum(found)
    assert sum(line.quantity for line in lines if line.unit == "day") == len(found)
    for line in lines:
        assert line.amount == round_money(line.quantity * line.unit_price, 2)
