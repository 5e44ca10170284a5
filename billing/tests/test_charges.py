from decimal import Decimal
from typing import Any

import pytest

from billing.charges import (
    ChargesInvalid,
    Consumption,
    Standing,
    decode_charges,
    encode_charges,
)
from billing.money import CurrencyUnknown, minor_digits, money_text


def test_charges_are_read_by_their_type_and_kept_as_text() -> None:
    raw = [
        {"type": "consumption", "unit_price": "0.2500", "unit": "kWh"},
        {"type": "standing", "price_per_day": 0.1, "description": "Meter"},
    ]
    charges = decode_charges(raw)
    assert charges == (
        Consumption(unit_price=Decimal("0.25"), unit="kWh"),
        Standing(price_per_day=Decimal("0.1"), description="Meter"),
    )
    assert encode_charges(charges)[0]["unit_price"] == "0.2500"
    assert decode_charges(encode_charges(charges)) == charges


GOOD = {"type": "standing", "price_per_day": "1"}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ([], "1 to 50"),
        ([GOOD] * 51, "1 to 50"),
        ({}, "array"),
        ("x", "array"),
        ([{"price_per_day": "1"}], "type"),
        ([{**GOOD, "type": "tiered"}], "tiered"),
        ([{**GOOD, "unit": "kWh"}], "unit"),
        ([{"type": "consumption", "unit": "kWh"}], "unit_price"),
        ([{"type": "consumption", "unit_price": "1", "unit": ""}], "unit"),
        ([{**GOOD, "price_per_day": "dear"}], "decimal"),
        ([{**GOOD, "price_per_day": "NaN"}], "number below"),
        ([{**GOOD, "price_per_day": "Infinity"}], "number below"),
        ([{**GOOD, "price_per_day": "1e12"}], "number below"),
        ([{**GOOD, "price_per_day": "1e999999"}], "number below"),
        ([{**GOOD, "price_per_day": "1e-13"}], "12 decimals"),
        ([{**GOOD, "description": "x" * 201}], "200"),
    ],
)
def test_a_bad_charge_is_refused_with_its_reason(raw: Any, words: str) -> None:
    with pytest.raises(ChargesInvalid, match=words):
        decode_charges(raw)


@pytest.mark.parametrize(
    ("currency", "digits"), [("EUR", 2), ("JPY", 0), ("KWD", 3), ("HUF", 2)]
)
def test_minor_units_are_those_of_iso_4217(currency: str, digits: int) -> None:
    assert minor_digits(currency) == digits


@pytest.mark.parametrize("currency", ["XXX", "ABC", "", "XAU"])
def test_a_currency_without_a_minor_unit_is_refused(currency: str) -> None:
    with pytest.raises(CurrencyUnknown):
        minor_digits(currency)


def test_amounts_are_written_with_the_currencys_decimals() -> None:
    assert money_text(Decimal("62.2200"), "EUR") == "62.22"
    assert money_text(Decimal("62.0000"), "JPY") == "62"
    assert money_text(Decimal(0), "KWD") == "0.000"
