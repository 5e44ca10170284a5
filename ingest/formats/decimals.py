"""Numbers as they are written: exact decimals of at most 38 digits, never a float."""

import re
from decimal import Decimal

MOST_DIGITS = 38
#: Text of at most this length, without an exponent, has digits to spare.
_SHORT_NUMBER = 30
_LONGEST_NUMBER = 128
#: `e-38` is the longest that means anything.
_LONGEST_EXPONENT = 8
_NO_VALUE = frozenset({b"", b"null"})

#: A JSON number, bare or as a string; a register's leading zeros are welcome there.
_NUMBER = re.compile(rb'("?)(-?[0-9]+(?:\.[0-9]+)?([eE][+-]?[0-9]+)?)\1')


def exact_number(text: bytes) -> Decimal | str:
    """Return the decimal that the JSON text stands for, or the code of its fault."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return "value_missing" if text in _NO_VALUE else "value_invalid"
    if len(text) > _LONGEST_NUMBER or len(match[3] or b"") > _LONGEST_EXPONENT:
        return "value_out_of_range"
    value = Decimal(match[2].decode())
    if (len(text) > _SHORT_NUMBER or match[3]) and not fits(value):
        return "value_out_of_range"
    return value


def fits(value: Decimal) -> bool:
    """Tell whether it has no more digits than are stored."""
    digits, exponent = value.as_tuple()[1:]
    return (
        len(digits) <= MOST_DIGITS
        and int(exponent) >= -MOST_DIGITS
        and value.adjusted() < MOST_DIGITS
    )
