"""The monthly report: what each account used, how well it is known, what it cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from django.db import connection

from billing.evidence import Shares, shares_of_time
from billing.models import Account
from billing.rating import Period
from ingest.units import exact_sum
from tenants.models import Tenant
from tenants.problems import Problem

#: The longest span that one report covers.
SPAN_LIMIT_DAYS = 1100


class SpanInvalid(Problem):
    """The report's dates are in the wrong order, or too far apart."""

    code = "span_invalid"


@dataclass(frozen=True)
class MonthRow:
    """One account, one local month, one unit."""

    account: str
    name: str
    month: date
    unit: str
    usage: Decimal
    billed: Decimal
    currency: str
    shares: Shares


@dataclass(frozen=True)
class UnitTotal:
    """The sums of a report's rows of one unit."""

    unit: str
    usage: Decimal
    billed: Decimal
    currency: str


# An agreement's part of each month is one span; its usage is what the span's days have
# now, and its length in seconds says how much of it should be known. Lines are counted
# in the month that they begin in, under the unit of the channel they are about.
_MONTHS = """
WITH span AS (
    SELECT a.account_id, a.device_id, a.channel_code, m.month::date AS month,
        greatest(a.start_date, m.month::date, %(from)s::date) AS start_date,
        least(a.end_date, (m.month + interval '1 month')::date, %(to)s::date)
            AS end_date
    FROM billing_agreement a
    CROSS JOIN generate_series(
        date_trunc('month', %(from)s::timestamp), %(to)s::timestamp, '1 month')
        AS m (month)
    WHERE a.tenant_id = %(tenant)s
        AND (%(account)s::bigint IS NULL OR a.account_id = %(account)s)
), used AS (
    SELECT s.account_id, s.month, c.unit,
        sum(coalesce(u.value, 0)) AS usage,
        sum(extract(epoch FROM ingest_day_start(s.end_date, %(zone)s)
            - ingest_day_start(s.start_date, %(zone)s)))::bigint AS expected_s,
        sum(coalesce(u.actual_s, 0)) AS actual_s,
        sum(coalesce(u.estimated_s, 0)) AS estimated_s
    FROM span s
    -- As in billing: of a code with intervals and a register, the intervals.
    CROSS JOIN LATERAL (
        SELECT id, unit FROM ingest_channel
        WHERE tenant_id = %(tenant)s AND device_id = s.device_id
            AND code = s.channel_code
        ORDER BY kind LIMIT 1) c
    CROSS JOIN LATERAL (
        SELECT sum(value) AS value, sum(actual_s) AS actual_s,
            sum(estimated_s) AS estimated_s
        FROM ingest_usage
        WHERE tenant_id = %(tenant)s AND channel_id = c.id
            AND day >= s.start_date AND day < s.end_date) u
    WHERE s.start_date < s.end_date
    GROUP BY s.account_id, s.month, c.unit
), billed AS (
    SELECT i.account_id, date_trunc('month', l.period_start)::date AS month,
        l.evidence ->> 'unit' AS unit, i.currency, sum(l.amount) AS amount
    FROM billing_invoiceline l
    JOIN billing_invoice i ON i.tenant_id = l.tenant_id AND i.id = l.invoice_id
    WHERE l.tenant_id = %(tenant)s
        AND (%(account)s::bigint IS NULL OR i.account_id = %(account)s)
        AND l.period_start >= %(from)s AND l.period_start < %(to)s
    GROUP BY 1, 2, 3, 4
)
SELECT a.number, a.name, month, unit, coalesce(usage, 0), coalesce(amount, 0),
    coalesce(currency, %(currency)s), coalesce(expected_s, 0),
    coalesce(actual_s, 0), coalesce(estimated_s, 0)
FROM used FULL JOIN billed USING (account_id, month, unit)
JOIN billing_account a ON a.tenant_id = %(tenant)s AND a.id = account_id
ORDER BY a.number, month, unit
"""


def monthly_report(
    *, tenant: Tenant, from_date: date, to_date: date, account: Account | None = None
) -> list[MonthRow]:
    """
    Return a row for each account, local month and unit of `[from_date, to_date)`.

    Usage is as known now; billed amounts are as invoiced.
    Raises: SpanInvalid.
    """
    if not 0 < Period(from_date, to_date).day_count <= SPAN_LIMIT_DAYS:
        raise SpanInvalid(
            f"`from` is before `to`, and they are {SPAN_LIMIT_DAYS} days apart at most."
        )
    with connection.cursor() as cursor:
        cursor.execute(
            _MONTHS,
            {
                "tenant": tenant.pk,
                "account": account.pk if account else None,
                "zone": tenant.timezone,
                "currency": tenant.currency,
                "from": from_date,
                "to": to_date,
            },
        )
        rows = cursor.fetchall()
    return [_row(row) for row in rows]


def report_totals(rows: Sequence[MonthRow]) -> list[UnitTotal]:
    """Return the sums by unit and currency."""
    found: dict[tuple[str, str], UnitTotal] = {}
    for row in rows:
        key = (row.unit, row.currency)
        before = found.get(key, UnitTotal(row.unit, Decimal(0), Decimal(0), key[1]))
        usage = exact_sum((before.usage, row.usage))
        billed = exact_sum((before.billed, row.billed))
        found[key] = UnitTotal(row.unit, usage, billed, row.currency)
    return [found[key] for key in sorted(found)]


def _row(row: tuple[Any, ...]) -> MonthRow:
    account, name, month, unit, usage, billed, currency, *seconds = row
    expected_s, actual_s, estimated_s = (int(part) for part in seconds)
    return MonthRow(
        account=account,
        name=name,
        month=month,
        unit=unit,
        usage=usage,
        billed=billed,
        currency=currency,
        shares=shares_of_time(
            expected_s=expected_s, actual_s=actual_s, estimated_s=estimated_s
        ),
    )
