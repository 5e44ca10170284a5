import csv
import io
import zipfile
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.evidence import Shares
from billing.exports import harmless, usage_report_csv, usage_report_xlsx
from billing.queries.reports import (
    MonthRow,
    SpanInvalid,
    monthly_report,
    report_totals,
)
from billing.tests.metering import meter_days, new_customer
from tenants.database import acting_for
from tenants.models import Tenant

ALL_ACTUAL = Shares(Decimal(1), Decimal(0), Decimal(0))


def report(tenant: Tenant, start: date, end: date) -> list[MonthRow]:
    with acting_for(tenant):
        return monthly_report(tenant=tenant, from_date=start, to_date=end)


def test_months_are_cut_by_span_and_agreement(tenant: Tenant) -> None:
    customer = new_customer(
        tenant, start_date=date(2016, 2, 28), end_date=date(2016, 4, 2)
    )
    meter_days(customer, date(2016, 2, 27), ["1"] * 37)
    rows = report(tenant, date(2016, 1, 1), date(2016, 4, 1))
    # 28 and 29 February, then the whole of March, the month with a 23 hour day.
    assert [(f"{row.month:%m}", row.usage, row.shares) for row in rows] == [
        ("02", Decimal(2), ALL_ACTUAL),
        ("03", Decimal(31), ALL_ACTUAL),
    ]


def test_days_without_usage_are_missing_time(tenant: Tenant) -> None:
    customer = new_customer(tenant, start_date=date(2016, 4, 1))
    meter_days(customer, date(2016, 4, 1), ["1"] * 15)
    meter_days(customer, date(2016, 4, 16), ["1"] * 6, quality="E")
    (row,) = report(tenant, date(2016, 4, 1), date(2016, 5, 1))
    half, fifth, rest = Decimal("0.5"), Decimal("0.2"), Decimal("0.3")
    assert row.shares == Shares(half, fifth, rest)


def test_units_have_rows_of_their_own(tenant: Tenant) -> None:
    for unit in ("kWh", "m3"):
        customer = new_customer(tenant, unit=unit)
        meter_days(customer, date(2016, 4, 1), ["2.5"])
    rows = report(tenant, date(2016, 4, 1), date(2016, 5, 1))
    assert [(total.unit, total.usage) for total in report_totals(rows)] == [
        ("kWh", Decimal("2.5")),
        ("m3", Decimal("2.5")),
    ]


def test_totals_are_exact_however_large() -> None:
    large, small = Decimal("1e28"), Decimal("0.001")
    rows = [replace(row("x"), usage=each, billed=each) for each in (large, small)]
    (total,) = report_totals(rows)
    whole = Decimal("10000000000000000000000000000.001")
    assert (total.usage, total.billed) == (whole, whole)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (date(2016, 4, 1), date(2016, 4, 1)),
        (date(2016, 4, 2), date(2016, 4, 1)),
        (date(2010, 1, 1), date(2016, 4, 1)),
    ],
)
def test_a_span_is_neither_empty_nor_endless(
    tenant: Tenant, start: date, end: date
) -> None:
    with pytest.raises(SpanInvalid):
        report(tenant, start, end)


def row(name: str) -> MonthRow:
    return MonthRow(
        account="A-1",
        name=name,
        month=date(2016, 7, 1),
        unit="kWh",
        usage=Decimal("-1.50"),
        billed=Decimal("-0.3800"),
        currency="EUR",
        shares=ALL_ACTUAL,
    )


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("-1.5", "-1.5"),
        ("+2", "+2"),
        ("Ann", "Ann"),
        ("", ""),
    ],
)
def test_a_formula_is_shown_and_not_computed(cell: str, written: str) -> None:
    assert harmless(cell) == written


def test_csv_keeps_numbers_and_ends_lines_as_rfc_4180_does() -> None:
    text = usage_report_csv([row('=HYPERLINK("x")')])
    header, line = text.split("\r\n")[:2]
    assert header.startswith("account,name,month,unit,usage,billed,currency")
    assert line == ('A-1,"\'=HYPERLINK(""x"")",2016-07,kWh,-1.5,-0.38,EUR,1,0,0')
    assert text.endswith("\r\n")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_csv_gives_back_every_name(name: str) -> None:
    text = usage_report_csv([row(name)])
    found = list(csv.reader(io.StringIO(text, newline="")))[1][1]
    assert found == harmless(name)
    assert not found.startswith(("=", "@", "\t", "\r"))


def test_the_workbook_has_numbers_texts_and_totals() -> None:
    with zipfile.ZipFile(io.BytesIO(usage_report_xlsx([row("=1+1")] * 2))) as book:
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
        texts = book.read("xl/sharedStrings.xml").decode()
    assert "<f>" not in sheet
    assert "=1+1" in texts
    assert "<v>-3</v>" in sheet
    assert "<v>-0.76</v>" in sheet
