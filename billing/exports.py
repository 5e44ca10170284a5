"""
Reports as files: CSV by RFC 4180, and XLSX.

A text that a spreadsheet would take for a formula is made harmless: names and numbers
come from outside. Source: docs/how-to/bill-a-month.md
"""

import csv
import io
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation

import xlsxwriter

from billing.money import money_text
from billing.queries.reports import MonthRow, report_totals
from ingest.units import plain

COLUMNS = (
    "account",
    "name",
    "month",
    "unit",
    "usage",
    "billed",
    "currency",
    "actual",
    "estimated",
    "missing",
)
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def usage_report_csv(rows: Iterable[MonthRow]) -> str:
    """Return the report as CSV, with a header line."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([harmless(cell) for cell in _cells(row)])
    return out.getvalue()


def usage_report_xlsx(rows: Sequence[MonthRow]) -> bytes:
    """Return the report as a workbook: the rows, and the totals below them."""
    out = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False}
    with xlsxwriter.Workbook(out, {**options, "strings_to_urls": False}) as book:
        sheet = book.add_worksheet("Usage")
        sheet.write_row(0, 0, COLUMNS, book.add_format({"bold": True}))
        sheet.freeze_panes(1, 0)
        line = 0
        for line, row in enumerate(rows, start=1):
            _write(sheet, line, _cells(row))
        for total in report_totals(rows):
            line += 1
            usage, billed = plain(total.usage), plain(total.billed)
            cells = ["Total", "", "", total.unit, usage, billed, total.currency]
            _write(sheet, line, cells)
    return out.getvalue()


def harmless(cell: str) -> str:
    """Return the cell so that a spreadsheet shows it and computes nothing."""
    if cell.startswith(_FORMULA_STARTS) and not _is_number(cell):
        return f"'{cell}"
    return cell


#: The columns whose cells a workbook keeps as numbers.
_NUMBERS = {COLUMNS.index(name) for name in COLUMNS[4:6] + COLUMNS[7:]}


def _write(
    sheet: xlsxwriter.workbook.Worksheet, line: int, cells: Sequence[str]
) -> None:
    for column, cell in enumerate(cells):
        if column in _NUMBERS and cell:
            sheet.write_number(line, column, Decimal(cell))
        else:
            sheet.write_string(line, column, cell)


def _cells(row: MonthRow) -> list[str]:
    return [
        row.account,
        row.name,
        row.month.strftime("%Y-%m"),
        row.unit,
        plain(row.usage),
        money_text(row.billed, row.currency),
        row.currency,
        *row.shares.texts().values(),
    ]


def _is_number(cell: str) -> bool:
    try:
        return Decimal(cell).is_finite()
    except InvalidOperation:
        return False
