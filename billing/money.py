"""Amounts in a currency's minor unit, by ISO 4217."""

from decimal import ROUND_HALF_UP, Context, Decimal

import iso4217

from ingest.units import plain as plain
from tenants.problems import Problem

#: Wide enough that no product or sum of telemetry and prices loses a digit.
_PRECISION = 200
_HALF_UP = Context(prec=_PRECISION, rounding=ROUND_HALF_UP)


class CurrencyUnknown(Problem):
    """ISO 4217 has no such currency, or it has no minor unit."""

    code = "currency_unknown"


def minor_digits(currency: str) -> int:
    """
    Return the decimals of the currency: 2 for EUR, 0 for JPY, 3 for KWD.

    Raises: CurrencyUnknown.
    """
    try:
        digits = iso4217.Currency(currency).exponent
    except ValueError as error:
        raise CurrencyUnknown(f"{currency!r} is no ISO 4217 currency.") from error
    if digits is None:
        raise CurrencyUnknown(f"{currency!r} has no minor unit to round to.")
    return digits


def round_money(amount: Decimal, digits: int) -> Decimal:
    """Return the amount with so many decimals; halves go away from zero."""
    return amount.quantize(Decimal(1).scaleb(-digits), context=_HALF_UP)


def money_text(amount: Decimal, currency: str) -> str:
    """Return the amount with the currency's decimals; more, where it has more."""
    kept = round_money(amount, minor_digits(currency))
    return f"{kept:f}" if kept == amount else plain(amount)
