"""Readings as a callback's body: decimals stay what they are."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from gridhook_client import Reading, body_of

AT = datetime(2026, 3, 29, 1, tzinfo=UTC)


def test_decimals_are_sent_as_they_are() -> None:
    readings = [
        Reading(AT, Decimal("0.10"), "kWh", 3600),
        Reading(AT, Decimal("1E+3"), "kWh", 3600),
        Reading(AT, "48213", "m3", kind="register", device="GM-7", channel="7-0:3.0.0"),
        Reading(AT, None, duration_s=900, quality="N"),
    ]
    document = json.loads(body_of("é/1", readings, device="WM-1"))
    assert document["transaction_id"] == "é/1"
    found = [reading.get("value") for reading in document["readings"]]
    assert found == ["0.10", "1000", "48213", None]
    assert document["readings"][2] == {
        "device": "GM-7", "channel": "7-0:3.0.0", "at": "2026-03-29T01:00:00+00:00",
        "value": "48213", "unit": "m3", "kind": "register", "quality": "A",
    }  # fmt: skip


@pytest.mark.parametrize("value", [0.1, True, "x", "NaN", Decimal("Infinity"), b"1"])
def test_a_value_is_a_finite_decimal_and_never_a_float(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        body_of("t", [Reading(AT, value, "kWh", 3600)])
    with pytest.raises(ValueError, match="offset"):
        body_of("t", [Reading(AT.replace(tzinfo=None), 1)])
