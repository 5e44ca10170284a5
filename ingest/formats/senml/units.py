"""
SenML's unit names as the platform's, and the unit of a sum.

The registries of RFC 8428 and RFC 8798 use the platform's own names for most; here are
the others. A name that is in neither is kept.
"""

from decimal import Decimal
from typing import NamedTuple


class Scaled(NamedTuple):
    """A unit, and what a value is multiplied by to be in it."""

    name: str
    factor: Decimal | None = None


_UNITS = {
    "l/s": Scaled("l/min", Decimal(60)),
    "m3/s": Scaled("l/min", Decimal(60_000)),
    "Pa": Scaled("bar", Decimal("0.00001")),
    "hPa": Scaled("mbar"),
}
#: A sum is the value's integral over time, in seconds.
_SUMS = {"W": "J", "kW": "kJ", "MW": "MJ", "l/s": "l", "m3/s": "m3", "A": "C"}


def unit_of_value(name: str) -> Scaled:
    """Return the unit that a value in this one is handed on in."""
    return _UNITS.get(name) or Scaled(name)


def unit_of_sum(name: str) -> Scaled:
    """Return the unit of a sum of values in this one; `<unit>.s` without a name."""
    return Scaled(_SUMS.get(name) or (f"{name}.s" if name else ""))
