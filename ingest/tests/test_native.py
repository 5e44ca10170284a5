"""The parser: exact, strict, and one bad reading never takes the others along."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.formats.interface import Context
from ingest.formats.native.readings import DETAILS, parse
from ingest.formats.parsed import Parsed

NOW = datetime(2026, 11, 23, 18, 0, tzinfo=UTC)
CONTEXT = Context(now=NOW, received_at=NOW)
GOOD = {"at": "2016-01-01T00:00:00+01:00", "duration_s": 3600, "value": "1"}
BAD: dict[str, Any] = {"quality": "Z"}


def read(*readings: Any, device: Any = "WM-1") -> Parsed:
    body = json.dumps({"device": device, "readings": readings}).encode()
    return parse(body, CONTEXT)


def read_value(text: str) -> Any:
    """Return the value read, or the error's code."""
    reading = json.dumps({**GOOD, "value": 0})[:-2] + text + "}"
    parsed = parse(b'{"device":"d","readings":[%s]}' % reading.encode(), CONTEXT)
    return parsed.readings[0][6] if parsed.readings else parsed.errors[0].code


def code_of(**changes: Any) -> str | None:
    """Return why the reading is refused, alone and beside one of another fault."""
    reading = {k: v for k, v in {**GOOD, **changes}.items() if v is not ...}
    alone, beside = read(reading), read(reading, BAD)
    codes = [error.code for error in alone.errors]
    assert [error.code for error in beside.errors if error.index == 0] == codes
    assert alone.rejected == len(codes)
    return codes[0] if codes else None


def test_a_reading_is_taken_with_the_defaults_of_the_contract() -> None:
    parsed = read(GOOD)
    assert parsed.readings == [
        (
            0,
            "WM-1",
            "main",
            "interval",
            datetime(2015, 12, 31, 23, tzinfo=UTC),
            3600,
            Decimal(1),
            "",
            "A",
        )
    ]
    assert parsed.errors == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"at": ...}, "time_invalid"),
        ({"at": 5}, "time_invalid"),
        ({"at": "yesterday"}, "time_invalid"),
        ({"at": "2016-01-01T00:00:00"}, "time_invalid"),
        ({"at": "2016-02-30T00:00:00Z"}, "time_invalid"),
        ({"at": "1999-12-31T23:59:59Z"}, "time_out_of_range"),
        ({"at": "2000-01-01T00:00:00Z"}, None),
        ({"at": (NOW + timedelta(days=1)).isoformat()}, None),
        ({"at": (NOW + timedelta(days=1, seconds=1)).isoformat()}, "time_out_of_range"),
        ({"at": "0001-01-01T00:00:00+23:59"}, "time_out_of_range"),
        ({"at": "9999-12-31T23:59:59-23:59"}, "time_out_of_range"),
        ({"duration_s": ...}, "duration_missing"),
        ({"duration_s": None}, "duration_missing"),
        ({"duration_s": 0}, "duration_invalid"),
        ({"duration_s": 31_622_400}, None),
        ({"duration_s": 31_622_401}, "duration_invalid"),
        ({"duration_s": 10**30}, "duration_invalid"),
        ({"duration_s": "60"}, "duration_invalid"),
        ({"duration_s": 1.5}, "duration_invalid"),
        ({"value": ...}, "value_missing"),
        ({"value": None}, "value_missing"),
        ({"value": "NaN"}, "value_invalid"),
        ({"value": "Infinity"}, "value_invalid"),
        ({"value": "1_000"}, "value_invalid"),
        ({"value": "\uff11"}, "value_invalid"),
        ({"value": ""}, "value_invalid"),
        ({"value": True}, "value_invalid"),
        ({"value": [1]}, "value_invalid"),
        ({"value": "1", "quality": "N"}, "value_unexpected"),
        ({"value": ..., "quality": "N"}, None),
        ({"value": None, "quality": "N"}, None),
        ({"quality": "a"}, "quality_unknown"),
        ({"quality": 1}, "quality_unknown"),
        ({"kind": "delta"}, "kind_unknown"),
        ({"kind": "register", "duration_s": ...}, None),
        ({"channel": ""}, "channel_invalid"),
        ({"channel": "c" * 255}, None),
        ({"channel": "c" * 256}, "channel_invalid"),
        ({"device": ""}, "device_invalid"),
        ({"device": 7}, "device_invalid"),
        ({"unit": "u" * 17}, "unit_invalid"),
        ({"unit": "k\0Wh"}, "text_invalid"),
        ({"device": "\0"}, "text_invalid"),
        ({"anything": {"else": [1, 2]}}, None),
    ],
)
def test_each_fault_has_its_code(changes: dict[str, Any], code: str | None) -> None:
    assert code_of(**changes) == code


@pytest.mark.parametrize("reading", [5, None, "x", [], [GOOD]])
def test_a_reading_that_is_no_object_is_refused_alone(reading: Any) -> None:
    parsed = read(GOOD, reading, GOOD)
    assert [row[0] for row in parsed.readings] == [0, 2]
    assert [(one.index, one.code) for one in parsed.errors] == [(1, "reading_invalid")]


def test_a_reading_names_its_device_or_the_body_does() -> None:
    assert [row[1] for row in read(GOOD, {**GOOD, "device": "GM"}).readings] == [
        "WM-1",
        "GM",
    ]
    for device in (None, 5, ""):
        parsed = read(GOOD, {**GOOD, "device": "GM"}, device=device)
        assert [row[1] for row in parsed.readings] == ["GM"]
        assert [one.code for one in parsed.errors] == ["device_missing"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("107.53", Decimal("107.53")),
        ('"107.53"', Decimal("107.53")),
        ('"00042"', Decimal(42)),
        ("-0", Decimal(0)),
        ("1e2", Decimal(100)),
        ("0.1", Decimal("0.1")),
        ("9" * 38, Decimal("9" * 38)),
        ("9" * 39, "value_out_of_range"),
        ("0." + "0" * 37 + "1", Decimal("1e-38")),
        ("0." + "0" * 38 + "1", "value_out_of_range"),
        ("1e37", Decimal("1e37")),
        ("1e38", "value_out_of_range"),
        ("1e400", "value_out_of_range"),
        ("1e-400", "value_out_of_range"),
        ("1e99999999999999999999", "value_out_of_range"),
        ('"' + "1" * 5000 + '"', "value_out_of_range"),
    ],
)
def test_numbers_are_exact_decimals_of_at_most_38_digits(text: str, value: Any) -> None:
    assert read_value(text) == value


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6))
def test_no_digit_is_lost_between_text_and_value(value: Decimal) -> None:
    if len(value.as_tuple().digits) <= 38 and value.adjusted() < 38:
        assert read_value(f'"{value:f}"') == value
        assert read_value(f"{value:f}") == value


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_not_an_exception(body: bytes) -> None:
    parsed = parse(body, CONTEXT)
    assert parsed.rejected == len(parsed.errors)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"readings": {}}',
        b'{"readings": [{"x": "\xff"}]}',
        b'{"readings": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_a_body_that_cannot_be_read_is_one_error(body: bytes) -> None:
    parsed = parse(body, CONTEXT)
    assert parsed.readings == []
    assert parsed.rejected == 1


def test_errors_never_repeat_what_was_sent() -> None:
    parsed = read({**GOOD, "quality": "secret", "value": "secret"}, "secret")
    assert "secret" not in str(parsed.errors)
    assert all(error.detail in DETAILS.values() for error in parsed.errors)
