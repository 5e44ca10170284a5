"""What a reading says, exactly, from the signed bytes to the stored row (R37)."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ingest.models import Callback, Reading
from ingest.tests.accepting import drain
from ingest.tests.listening import Sender
from tenants.database import acting_for
from tenants.models import Tenant
from tests.hostile.inprocess import Wire, signed

FIRST = datetime(2024, 1, 1, tzinfo=UTC)
OUT = "value_out_of_range"
NONE = "value_invalid"

#: The value's JSON text → what is stored, or the error's code.
VALUES: dict[str, str | Decimal] = {
    "0": Decimal(0),
    "-0": Decimal(0),
    "-0.0": Decimal(0),
    '"-0"': Decimal(0),
    "0e0": Decimal(0),
    "0.1": Decimal("0.1"),
    '"0.1"': Decimal("0.1"),
    "0.30000000000000004": Decimal("0.30000000000000004"),
    "9007199254740993": Decimal(9007199254740993),
    "12345678901234567890": Decimal(12345678901234567890),
    "0.10753": Decimal("0.10753"),
    "1e3": Decimal(1000),
    "1E-3": Decimal("0.001"),
    '"1e-3"': Decimal("0.001"),
    "-1.5": Decimal("-1.5"),
    '"007"': Decimal(7),
    "1" * 38: Decimal("1" * 38),
    "1" * 39: OUT,
    "0." + "1" * 38: Decimal("0." + "1" * 38),
    "0." + "1" * 39: OUT,
    "1." + "0" * 60: OUT,
    "1e37": Decimal(10) ** 37,
    "1e38": OUT,
    "1e400": OUT,
    "-1e400": OUT,
    "1e-38": Decimal("1e-38"),
    "1e-400": OUT,
    "1e999999999999": OUT,
    "9" * 5_000: OUT,
    '"NaN"': NONE,
    '"sNaN"': NONE,
    '"Infinity"': NONE,
    '"-inf"': NONE,
    '""': NONE,
    '" 1"': NONE,
    '"1 "': NONE,
    '"+1"': NONE,
    '"1,5"': NONE,
    '"1.000,5"': NONE,
    '"1_000"': NONE,
    '"0x10"': NONE,
    '".5"': NONE,
    '"5."': NONE,
    '"1e"': NONE,
    '"1 kWh"': NONE,
    '"\uff11"': NONE,
    '"\u0661"': NONE,
    '"\u00b2"': NONE,
    "true": NONE,
    "{}": NONE,
    "[1]": NONE,
    "null": "value_missing",
}

#: `at` → the moment stored, or the error's code.
TIMES: dict[str, str | datetime] = {
    "2024-03-31T02:30:00+01:00": datetime(2024, 3, 31, 1, 30, tzinfo=UTC),
    "2024-03-31T02:30:00+02:00": datetime(2024, 3, 31, 0, 30, tzinfo=UTC),
    "2024-10-27T02:30:00+02:00": datetime(2024, 10, 27, 0, 30, tzinfo=UTC),
    "2024-10-27T02:30:00+01:00": datetime(2024, 10, 27, 1, 30, tzinfo=UTC),
    "2024-02-29T00:00:00Z": datetime(2024, 2, 29, tzinfo=UTC),
    "2023-02-29T00:00:00Z": "time_invalid",
    "2024-12-31T24:00:00Z": "time_invalid",
    "2016-12-31T23:59:60Z": "time_invalid",
    "2024-01-05T00:00:00": "time_invalid",
    "2024-01-05": "time_invalid",
    "2024-W01-1T00:00:00Z": "time_invalid",
    "1704067200": "time_invalid",
    "2024-01-06T00:00:00.123456Z": datetime(2024, 1, 6, 0, 0, 0, 123456, tzinfo=UTC),
    "2024-01-07T00:00:00+14:00": datetime(2024, 1, 6, 10, tzinfo=UTC),
    "2024-01-08T00:00:00-12:00": datetime(2024, 1, 8, 12, tzinfo=UTC),
    "1999-12-31T23:59:59Z": "time_out_of_range",
    "0001-01-01T00:00:00Z": "time_out_of_range",
    "9999-12-31T23:59:59Z": "time_out_of_range",
    "2024-01-09T00:00:00+99:00": "time_invalid",
    "\u0662\u0660\u0662\u0664-01-01T00:00:00Z": "time_invalid",
}


def send(wire: Wire, sender: Sender, readings: list[bytes]) -> None:
    """Post the readings as one signed callback, and have it settled."""
    body = b'{"transaction_id":"semantics","device":"WM-1","readings":[%s]}'
    reply = wire.ask(signed(sender, body % b",".join(readings)))
    assert reply.status == 202, reply.body
    drain()


def outcome(tenant: Tenant) -> tuple[dict[datetime, Reading], dict[int, str]]:
    """Return what was stored, by moment, and the errors, by index."""
    with acting_for(tenant):
        rows = Reading.objects.filter(tenant=tenant)
        errors = Callback.objects.get(tenant=tenant).errors or []
        return {row.start_at: row for row in rows}, {
            e["index"]: e["code"] for e in errors
        }


def test_a_value_is_the_decimal_that_was_sent_or_is_refused_by_name(
    wire: Wire, tenant: Tenant, sender: Sender
) -> None:
    frame = '{"at":"%s","duration_s":60,"unit":"x","value":%s}'
    moments = [FIRST + timedelta(minutes=n) for n in range(len(VALUES))]
    pairs = zip(moments, VALUES, strict=True)
    send(wire, sender, [(frame % (m.isoformat(), text)).encode() for m, text in pairs])
    stored, errors = outcome(tenant)
    found: list[Any] = [
        stored[moment].value if moment in stored else errors.get(index)
        for index, moment in enumerate(moments)
    ]
    assert found == list(VALUES.values())
    # Equal is not enough for a decimal: each digit is there.
    exact = [str(value) for value in found if isinstance(value, Decimal)]
    assert "0.30000000000000004" in exact
    assert "0." + "1" * 38 in exact


def test_a_value_with_nul_is_refused_with_its_body(
    wire: Wire, tenant: Tenant, sender: Sender
) -> None:
    body = b'{"transaction_id":"t","readings":[{"value":"1\\u0000"}]}'
    assert wire.ask(signed(sender, body)).status == 400


def test_a_moment_is_the_one_that_was_sent_or_is_refused_by_name(
    wire: Wire, tenant: Tenant, sender: Sender
) -> None:
    frame = '{"at":%s,"duration_s":60,"unit":"x","value":%d}'
    texts = list(TIMES)
    readings = [frame % (json.dumps(at), index) for index, at in enumerate(texts)]
    send(wire, sender, [reading.encode() for reading in readings])
    stored, errors = outcome(tenant)
    by_value = {row.value: moment for moment, row in stored.items()}
    found: list[Any] = [
        by_value.get(Decimal(index), errors.get(index)) for index in range(len(texts))
    ]
    assert found == list(TIMES.values())


@pytest.mark.parametrize("unit", ["", "kWh\u0301", "\u212bx", "%", "'; --", "<b>"])
def test_a_unit_nobody_knows_is_kept_as_it_is(
    wire: Wire, tenant: Tenant, sender: Sender, unit: str
) -> None:
    reading = {"at": FIRST.isoformat(), "duration_s": 60, "unit": unit, "value": "1"}
    send(wire, sender, [json.dumps(reading).encode()])
    stored, errors = outcome(tenant)
    if unit:
        assert stored[FIRST].value == 1
    else:
        assert list(errors) == [0]
