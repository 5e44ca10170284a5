"""What an OBIS code says of the thing that is measured."""

import re

UNKNOWN = "unknown"

#: Value group A of an OBIS code (IEC 62056-61).
COMMODITIES = {
    "1": "electricity",
    "4": "heat",
    "5": "cooling",
    "6": "heat",
    "7": "gas",
    "8": "water",
    "9": "hot_water",
}
#: `A-B:C.D.E`, with or without `*F`.
_CODE = re.compile(r"(\d{1,2})-\d{1,3}:\d{1,3}\.\d{1,3}(?:\.\d{1,3})?(?:[*.]\d{1,3})?")


def commodity_of(code: str) -> str:
    """Return what the channel measures; `unknown` for anything but an OBIS code."""
    match = _CODE.fullmatch(code)
    return COMMODITIES.get(match[1], UNKNOWN) if match else UNKNOWN
