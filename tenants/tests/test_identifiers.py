"""Public ids: one spelling each."""

import pytest

from tenants.identifiers import (
    IdentifierInvalid,
    new_id,
    parse_public_id,
    public_id,
)

DIGITS = "0193589d1e0c7cc0b1f4c2c5a1f0d9ab"


def test_an_id_comes_back_from_its_text() -> None:
    value = new_id()
    assert parse_public_id("src", public_id("src", value)) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        DIGITS,
        f"rcp_{DIGITS}",
        f"src_{DIGITS[:-1]}",
        f"src_{DIGITS}0",
        f"src_{DIGITS.upper()}",
        f"src_{DIGITS[:-1]}\n",
        f"src_{DIGITS}\n",
        f"src_ {DIGITS[1:]}",
        f"src_0_{DIGITS[2:]}",
        f"src_+{DIGITS[1:]}",
        f"src_{DIGITS[:-1]}\N{ARABIC-INDIC DIGIT ONE}",
    ],
)
def test_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(IdentifierInvalid):
        parse_public_id("src", text)
