"""
The shapes of a tariff's charges, and reading them from JSON.

Each is told from the others by its `type`. A further kind (tiers, time of use, demand)
is one more class here and one more row in `billing.rating.RATES`.
Source: docs/explanation/rating.md
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from tenants.problems import Problem

#: Prices keep this many digits on each side of the point.
PRICE_DIGITS = 12
_CHARGES_LIMIT = 50
_SMALLEST = Decimal(1).scaleb(-PRICE_DIGITS)
_LARGEST = Decimal(1).scaleb(PRICE_DIGITS)


class ChargesInvalid(Problem):
    """A tariff's charges cannot be read; the text says where and why."""

    code = "charges_invalid"


class _Charge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What every charge has."""


class Consumption(_Charge, tag="consumption", frozen=True, kw_only=True):
    """A price for each unit that the channel used."""

    unit_price: Decimal
    unit: str
    description: str = ""


class Standing(_Charge, tag="standing", frozen=True, kw_only=True):
    """A price for each local day of the agreement, used or not."""

    price_per_day: Decimal
    description: str = ""


Charge = Consumption | Standing


def decode_charges(raw: Any) -> tuple[Charge, ...]:
    """
    Return the charges that decoded JSON describes.

    Raises: ChargesInvalid: an unknown type or member, a missing one, or a bad price.
    """
    try:
        charges = msgspec.convert(raw, tuple[Charge, ...])
    except msgspec.ValidationError as error:
        raise ChargesInvalid(f"{error}.") from error
    if not 0 < len(charges) <= _CHARGES_LIMIT:
        raise ChargesInvalid(f"A tariff version has 1 to {_CHARGES_LIMIT} charges.")
    for index, charge in enumerate(charges):
        _check(charge, f"$[{index}]")
    return charges


def encode_charges(charges: Sequence[Charge]) -> list[dict[str, Any]]:
    """Return the charges as JSON keeps them: prices as text, exact."""
    encoded: list[dict[str, Any]] = msgspec.to_builtins(list(charges))
    return encoded


def price_of(charge: Charge) -> Decimal:
    """Return what one unit, or one day, costs."""
    if isinstance(charge, Standing):
        return charge.price_per_day
    return charge.unit_price


def _check(charge: Charge, where: str) -> None:
    price = price_of(charge)
    if not price.is_finite() or abs(price) >= _LARGEST:
        raise ChargesInvalid(f"{where}: a price is a number below {_LARGEST:f}.")
    if price != price.quantize(_SMALLEST):
        raise ChargesInvalid(f"{where}: a price has {PRICE_DIGITS} decimals at most.")
    if isinstance(charge, Consumption) and not 0 < len(charge.unit) <= 16:
        raise ChargesInvalid(f"{where}: a unit has 1 to 16 characters, such as kWh.")
    if len(charge.description) > 200:
        raise ChargesInvalid(f"{where}: a description has 200 characters at most.")
