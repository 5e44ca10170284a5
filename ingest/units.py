"""Units: one stored unit for each dimension, and exact factors to it."""

from collections.abc import Iterable
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import NamedTuple


class Unit(NamedTuple):
    """How values in a unit are stored."""

    #: The dimension's unit, and so its name.
    stored: str
    #: Stored value = value * factor; None: stored as it is.
    factor: Decimal | None
    #: Whether values of successive intervals may be added (not power, not temperature).
    is_quantity: bool = True


#: Wide enough that no accepted value times a factor is ever rounded.
_EXACT = Context(prec=120, traps=[Inexact, InvalidOperation, Overflow])
_US_GALLON_M3 = Decimal("0.003785411784")
_CUBIC_FOOT_M3 = Decimal("0.028316846592")

#: Stored unit → (whether it adds up, every accepted spelling → factor).
_DIMENSIONS: dict[str, tuple[bool, dict[str, str | Decimal]]] = {
    "kWh": (
        True,
        {
            "Wh": "0.001",
            "kWh": "1",
            "KWH": "1",
            "kwh": "1",
            "MWh": "1000",
            "GWh": "1000000",
        },
    ),
    "kW": (False, {"W": "0.001", "kW": "1", "KW": "1", "MW": "1000"}),
    "kvarh": (
        True,
        {"varh": "0.001", "kvarh": "1", "kVArh": "1", "KVARH": "1", "Mvarh": "1000"},
    ),
    "kVAh": (True, {"VAh": "0.001", "kVAh": "1", "KVAH": "1", "MVAh": "1000"}),
    "MJ": (
        True,
        {"J": "0.000001", "kJ": "0.001", "MJ": "1", "GJ": "1000", "TJ": "1000000"},
    ),
    "m3": (
        True,
        {
            "m3": "1",
            "m³": "1",
            "M3": "1",
            "l": "0.001",
            "L": "0.001",
            "dm3": "0.001",
            "dm³": "0.001",
            "[gal_us]": _US_GALLON_M3,
            "US gal": _US_GALLON_M3,
            "gal": _US_GALLON_M3,
            "ft3": _CUBIC_FOOT_M3,
            "ft³": _CUBIC_FOOT_M3,
            "[cft_i]": _CUBIC_FOOT_M3,
            # A hundred cubic feet.
            "CCF": _CUBIC_FOOT_M3 * 100,
        },
    ),
    "l/min": (False, {"l/min": "1", "L/min": "1"}),
    "Cel": (False, {"Cel": "1", "°C": "1", "degC": "1"}),
    "bar": (False, {"bar": "1", "mbar": "0.001"}),
    "V": (False, {"V": "1", "mV": "0.001", "kV": "1000"}),
    "A": (False, {"A": "1", "mA": "0.001", "kA": "1000"}),
    "Hz": (False, {"Hz": "1"}),
    "K": (False, {"K": "1"}),
    "var": (False, {"var": "1", "kvar": "1000"}),
    "VA": (False, {"VA": "1", "kVA": "1000"}),
    "%RH": (False, {"%RH": "1"}),
}


def _table() -> dict[str, Unit]:
    table = {}
    for stored, (is_quantity, spellings) in _DIMENSIONS.items():
        for spelling, factor in spellings.items():
            exact = Decimal(factor)
            table[spelling] = Unit(stored, None if exact == 1 else exact, is_quantity)
    return table


UNITS = _table()


def unit_of(name: str) -> Unit:
    """Return how values in this unit are stored; an unknown unit stays as it is."""
    return UNITS.get(name) or Unit(name, None)


def to_stored(value: Decimal, unit: Unit) -> Decimal:
    """Return the value in the dimension's stored unit, exactly."""
    return value if unit.factor is None else _EXACT.multiply(value, unit.factor)


def exact_sum(values: Iterable[Decimal]) -> Decimal:
    """Return the sum, unrounded."""
    total = Decimal(0)
    for value in values:
        total = _EXACT.add(total, value)
    return total


def plain(value: Decimal) -> str:
    """Return the shortest exact decimal text: no exponent, no trailing zeros."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
