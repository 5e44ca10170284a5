"""Units: exact factors to one stored unit for each dimension; OBIS codes."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.obis import commodity_of
from ingest.shares import STATE_UNITS
from ingest.units import UNITS, exact_sum, plain, to_stored, unit_of


@pytest.mark.parametrize(
    ("value", "name", "stored", "expected"),
    [
        ("107.53", "Wh", "kWh", "0.10753"),
        ("1", "kWh", "kWh", "1"),
        ("0.5", "MWh", "kWh", "500"),
        ("2", "GWh", "kWh", "2000000"),
        ("1500", "W", "kW", "1.5"),
        ("7", "varh", "kvarh", "0.007"),
        ("7", "VAh", "kVAh", "0.007"),
        ("1", "GJ", "MJ", "1000"),
        ("1", "kJ", "MJ", "0.001"),
        ("12", "l", "m3", "0.012"),
        ("12", "dm3", "m3", "0.012"),
        ("12", "m³", "m3", "12"),
        ("1", "US gal", "m3", "0.003785411784"),
        ("1", "ft3", "m3", "0.028316846592"),
        ("1", "CCF", "m3", "2.8316846592"),
        ("3", "l/min", "l/min", "3"),
        ("21.5", "°C", "Cel", "21.5"),
    ],
)
def test_values_are_stored_in_their_dimensions_unit(
    value: str, name: str, stored: str, expected: str
) -> None:
    unit = unit_of(name)
    assert unit.stored == stored
    assert to_stored(Decimal(value), unit) == Decimal(expected)


def test_case_tells_units_apart() -> None:
    assert unit_of("MW").stored == "kW"
    assert unit_of("mw").stored == "mw"


def test_an_unknown_unit_is_its_own_dimension() -> None:
    unit = unit_of("furlong")
    assert (unit.stored, unit.factor) == ("furlong", None)


def test_only_quantities_add_up() -> None:
    states = {unit.stored for unit in UNITS.values() if not unit.is_quantity}
    assert states == set(STATE_UNITS)


def test_every_stored_unit_is_a_name_of_itself() -> None:
    for unit in UNITS.values():
        assert unit_of(unit.stored) == (unit.stored, None, unit.is_quantity)


@given(
    st.decimals(-(10**37), 10**37, allow_nan=False, places=1),
    st.sampled_from(sorted(UNITS)),
)
def test_no_conversion_rounds(value: Decimal, name: str) -> None:
    factor = UNITS[name].factor or Decimal(1)
    stored = to_stored(value, UNITS[name])
    assert Fraction(stored) == Fraction(value) * Fraction(factor)


@given(st.lists(st.decimals(-(10**30), 10**30, allow_nan=False, places=6)))
def test_sums_are_exact(values: list[Decimal]) -> None:
    assert Fraction(exact_sum(values)) == sum(map(Fraction, values))


@pytest.mark.parametrize(
    ("value", "text"),
    [("1.500", "1.5"), ("100", "100"), ("1E+2", "100"), ("-0.00", "0"), ("0E-6", "0")],
)
def test_decimals_are_written_out_without_exponents(value: str, text: str) -> None:
    assert plain(Decimal(value)) == text


@pytest.mark.parametrize(
    ("code", "commodity"),
    [
        ("1-0:1.8.0", "electricity"),
        ("1-0:1.8.0*255", "electricity"),
        ("7-0:3.0.0", "gas"),
        ("8-0:1.0.0", "water"),
        ("9-0:1.0.0", "hot_water"),
        ("6-0:1.0.0", "heat"),
        ("5-0:1.0.0", "cooling"),
        ("4-0:1.0.0", "heat"),
        ("0-0:96.1.0", "unknown"),
        ("main", "unknown"),
        ("1-0:1.8", "electricity"),
        ("1.8.0", "unknown"),
    ],
)
def test_an_obis_code_names_its_commodity(code: str, commodity: str) -> None:
    assert commodity_of(code) == commodity
