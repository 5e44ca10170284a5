"""SenML: base fields, names, units, times and sums, by RFC 8428's own examples."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.formats.interface import Context, EnvelopeInvalid
from ingest.formats.parsed import Parsed
from ingest.formats.senml.envelope import read
from ingest.formats.senml.readings import DETAILS, parse
from ingest.formats.senml.units import unit_of_sum, unit_of_value

RECEIVED_AT = datetime(2026, 11, 23, 18, 0, 7, 250_000, tzinfo=UTC)
NOW = RECEIVED_AT + timedelta(hours=3)
WIRE = "urn:dev:ow:10e2073a01080063"


def parse_text(text: str, *, device: str | None = None) -> Parsed:
    (envelope,) = read(text.encode())
    context = Context(now=NOW, received_at=RECEIVED_AT, device=device)
    return parse(bytes(envelope.body), context)


def parse_pack(*records: Any, device: str | None = None) -> Parsed:
    return parse_text(json.dumps(records), device=device)


def rows(parsed: Parsed) -> list[tuple[str, str, datetime, Decimal | None, str]]:
    """Return device, channel, moment, value and unit of each reading."""
    assert parsed.errors == []
    assert all(row[3:4] + row[5:6] == ("register", 0) for row in parsed.readings)
    return [(row[1], row[2], row[4], row[6], row[7]) for row in parsed.readings]


def errors(parsed: Parsed) -> list[tuple[int | None, str]]:
    return [(error.index, error.code) for error in parsed.errors]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# RFC 8428, 5.1.1.
def test_a_single_datapoint_is_measured_when_it_is_received() -> None:
    found = parse_text(f'[{{"n":"{WIRE}","u":"Cel","v":23.1}}]')
    assert rows(found) == [(WIRE, "main", RECEIVED_AT, Decimal("23.1"), "Cel")]


# RFC 8428, 5.1.2.
def test_multiple_datapoints_share_a_base_name() -> None:
    found = parse_text(
        f"""[{{"bn":"{WIRE}:","n":"voltage","u":"V","v":120.1}},
        {{"n":"current","u":"A","v":1.2}}]"""
    )
    assert rows(found) == [
        (WIRE, "voltage", RECEIVED_AT, Decimal("120.1"), "V"),
        (WIRE, "current", RECEIVED_AT, Decimal("1.2"), "A"),
    ]


# RFC 8428, 5.1.2: the same with a base time, a base unit and a version.
def test_base_time_base_unit_and_an_older_version_are_resolved() -> None:
    found = parse_text(
        """[{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,
        "bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},
        {"n":"current","t":-5,"v":1.2}, {"n":"current","t":-4,"v":1.3},
        {"n":"current","t":-3,"v":1.4}, {"n":"current","t":-2,"v":1.5},
        {"n":"current","t":-1,"v":1.6}, {"n":"current","v":1.7}]"""
    )
    moment = at("2010-06-08T18:01:16.001")
    voltage, *currents = rows(found)
    device = "urn:dev:ow:10e2073a0108006"
    assert voltage == (device, "voltage", moment, Decimal("120.1"), "V")
    assert currents == [
        (
            device,
            "current",
            moment - timedelta(seconds=5 - n),
            Decimal(12 + n) / 10,
            "A",
        )
        for n in range(6)
    ]


# RFC 8428, 5.1.3.
def test_multiple_measurements_without_names_are_one_channel() -> None:
    found = parse_text(
        f"""[{{"bn":"{WIRE}","bt":1.320067464e+09,"bu":"%RH","v":20}},
        {{"u":"lon","v":24.30621}}, {{"u":"lat","v":60.07965}}, {{"t":60,"v":20.3}},
        {{"u":"%EL","t":150,"v":98}}]"""
    )
    began_at = at("2011-10-31T13:24:24")
    assert rows(found) == [
        (WIRE, "main", began_at, Decimal(20), "%RH"),
        (WIRE, "main", began_at, Decimal("24.30621"), "lon"),
        (WIRE, "main", began_at, Decimal("60.07965"), "lat"),
        (WIRE, "main", began_at + timedelta(seconds=60), Decimal("20.3"), "%RH"),
        (WIRE, "main", began_at + timedelta(seconds=150), Decimal(98), "%EL"),
    ]


# RFC 8428, 5.1.5.
def test_texts_booleans_and_data_are_no_readings() -> None:
    found = parse_text(
        f"""[{{"bn":"{WIRE}:","n":"temp","u":"Cel","v":23.1}},
        {{"n":"label","vs":"Machine Room"}}, {{"n":"open","vb":false}},
        {{"n":"nfc-reader","vd":"aGkgCg"}}]"""
    )
    assert [row[1] for row in rows(found)] == ["temp"]


# RFC 8428, 5.1.6.
def test_a_base_name_is_replaced_and_the_base_time_stays() -> None:
    found = parse_text(
        """[{"bn":"2001:db8::2/","bt":1.320078429e+09,"n":"temperature","u":"Cel",
        "v":25.2}, {"n":"humidity","u":"%RH","v":30},
        {"bn":"2001:db8::1/","n":"temperature","u":"Cel","v":12.3},
        {"n":"humidity","u":"%RH","v":67}]"""
    )
    assert [(row[0], row[1], row[3]) for row in rows(found)] == [
        ("2001:db8::2", "temperature", Decimal("25.2")),
        ("2001:db8::2", "humidity", Decimal(30)),
        ("2001:db8::1", "temperature", Decimal("12.3")),
        ("2001:db8::1", "humidity", Decimal(67)),
    ]
    assert {row[2] for row in rows(found)} == {at("2011-10-31T16:27:09")}


def test_a_name_with_its_device_in_front_may_begin_with_a_slash() -> None:
    (row,) = rows(parse_pack({"n": "/3303/0/5700", "v": 1}))
    assert row[:2] == ("/3303/0", "5700")


@pytest.mark.parametrize(
    ("record", "default", "names"),
    [
        ({"bn": "WM-1/", "n": "1-0:1.8.0"}, None, ("WM-1", "1-0:1.8.0")),
        ({"bn": "WM-1", "n": "_temp"}, None, ("WM-1", "temp")),
        ({"bn": "WM-1:"}, None, ("WM-1", "main")),
        ({"bn": "WM-1", "n": ""}, "GM-7", ("WM-1", "main")),
        ({"n": "WM-1"}, None, ("WM-1", "main")),
        ({"n": "WM-1/1-0:1.8.0"}, None, ("WM-1", "1-0:1.8.0")),
        ({"n": "a/b/c"}, None, ("a/b", "c")),
        ({"n": "1-0:1.8.0"}, "WM-1", ("WM-1", "1-0:1.8.0")),
        ({"n": "WM-2/x"}, "WM-1", ("WM-2", "x")),
        ({}, "WM-1", ("WM-1", "main")),
        ({"bn": "/", "n": "x"}, "WM-1", ("WM-1", "x")),
    ],
)
def test_names_become_a_device_and_a_channel(
    record: dict[str, Any], default: str | None, names: tuple[str, str]
) -> None:
    (row,) = rows(parse_pack({**record, "v": 1}, device=default))
    assert row[:2] == names


@pytest.mark.parametrize(
    ("records", "faults"),
    [
        ([{"v": 1}], [(0, "device_missing")]),
        ([{"n": "d" * 256, "v": 1}], [(0, "device_invalid")]),
        ([{"bn": "d", "n": "c" * 256, "v": 1}], [(0, "channel_invalid")]),
        ([{"n": "d", "u": "u" * 17, "v": 1}], [(0, "unit_invalid")]),
        ([{"n": "d", "v": "1"}], [(0, "value_invalid")]),
        ([{"n": "d", "v": True}], [(0, "value_invalid")]),
        ([{"n": "d", "v": 10**39}], [(0, "value_out_of_range")]),
        ([{"n": "d"}], [(0, "value_missing")]),
        ([{"n": "d", "v": None}], [(0, "value_missing")]),
        ([{"n": "d", "v": 1, "vs": "x"}], [(0, "reading_invalid")]),
        ([{"n": "d", "t": "x", "v": 1}], [(0, "time_invalid")]),
        ([{"n": "d", "t": 1e10, "v": 1}], [(0, "time_out_of_range")]),
        ([{"n": "d", "t": -1e12, "v": 1}], [(0, "time_out_of_range")]),
        ([{"n": "d", "t": -1e11, "v": 1}], [(0, "time_out_of_range")]),
        ([{"n": "d", "t": 3e8, "v": 1}], [(0, "time_out_of_range")]),
        ([{"n": 5, "v": 1}, {"n": "d", "v": 1}], [(0, "reading_invalid")]),
        (
            [5, {"n": "d", "v": 1}, [], None],
            [(n, "reading_invalid") for n in (0, 2, 3)],
        ),
    ],
)
def test_a_fault_refuses_its_record_alone(
    records: list[Any], faults: list[tuple[int, str]]
) -> None:
    parsed = parse_pack(*records)
    assert errors(parsed) == faults
    assert parsed.rejected == len(faults)
    assert len(parsed.readings) == len(records) - len(faults)
    beside = parse_pack(*records, {"n": "other", "v": 1})
    assert errors(beside) == faults


@pytest.mark.parametrize(
    ("record", "code"),
    [
        ({"bn": 5}, "base_invalid"),
        ({"bu": []}, "base_invalid"),
        ({"bt": "x"}, "base_invalid"),
        ({"bt": 1e30}, "base_invalid"),
        ({"bv": True}, "base_invalid"),
        ({"bs": "1"}, "base_invalid"),
        ({"bver": 11}, "version_unsupported"),
        ({"bver": "10"}, "version_unsupported"),
        ({"bver": -1}, "version_unsupported"),
        ({"bver": 10.5}, "version_unsupported"),
        ({"must_": 1}, "label_unknown"),
        ({"": 1, "_": None}, "label_unknown"),
    ],
)
def test_what_makes_the_rest_unknowable_refuses_the_pack(
    record: dict[str, Any], code: str
) -> None:
    good = {"n": "d", "v": 1}
    for pack in ([good, record], [good, {**good, **record}], [5, record, good]):
        parsed = parse_pack(*pack)
        assert errors(parsed) == [(None, code)]
        assert parsed.readings == []


def test_other_unknown_labels_are_ignored() -> None:
    parsed = parse_text(
        '[{"n":"d","v":1,"x":{"y_":1},"_z":"a_\\": ","note":"b_","ut":5,"l":[]}]'
    )
    assert len(rows(parsed)) == 1


def test_base_fields_alone_set_them_and_null_leaves_them() -> None:
    found = rows(
        parse_pack(
            {"bn": "d/", "bt": 1_600_000_000, "bu": "m3"},
            {"n": "a", "v": 1},
            {"bn": None, "bt": None, "bu": None, "n": "b", "v": 2},
        )
    )
    assert [row[:2] for row in found] == [("d", "a"), ("d", "b")]
    assert {(row[2], row[4]) for row in found} == {(at("2020-09-13T12:26:40"), "m3")}


def test_base_value_and_base_sum_are_added_exactly() -> None:
    found = parse_text(
        """[{"bn":"d/","bv":0.1,"n":"a","v":0.2}, {"n":"b"},
        {"bs":1000.5,"n":"c","u":"W","v":1,"s":0.25}, {"n":"d","vs":"x"}]"""
    )
    assert [(row[1], row[3], row[4]) for row in rows(found)] == [
        ("a", Decimal("0.3"), ""),
        ("b", Decimal("0.1"), ""),
        ("c", Decimal("1.1"), "W"),
        ("c:sum", Decimal("1000.75"), "J"),
        ("d:sum", Decimal("1000.5"), ""),
    ]


def test_a_sum_of_base_and_value_has_no_more_digits_than_are_stored() -> None:
    parsed = parse_text(
        f'[{{"bn":"d","bv":1e37,"v":1}}, {{"bv":{"9" * 38},"v":1}}, {{"v":1e-38}}]'
    )
    assert len(parsed.readings) == 1
    assert errors(parsed) == [(1, "value_out_of_range"), (2, "value_out_of_range")]


@pytest.mark.parametrize(
    ("time", "moment"),
    [
        ("0", RECEIVED_AT),
        ("-60", RECEIVED_AT - timedelta(seconds=60)),
        ("-0.0000015", RECEIVED_AT - timedelta(microseconds=2)),
        ("2", RECEIVED_AT + timedelta(seconds=2)),
        ("-268435456", RECEIVED_AT - timedelta(seconds=2**28)),
        ("1000000000", at("2001-09-09T01:46:40")),
        ("1.276020076001e9", at("2010-06-08T18:01:16.001")),
        ("1276020076.000001", at("2010-06-08T18:01:16.000001")),
    ],
)
def test_times_are_counted_from_the_receipt_or_from_1970(
    time: str, moment: datetime
) -> None:
    (row,) = rows(parse_text(f'[{{"n":"d","t":{time},"v":1}}]'))
    assert row[2] == moment


@pytest.mark.parametrize("split", [0, -7, 1_500_000_000, 1_600_000_060])
def test_base_time_and_time_are_one_sum(split: int) -> None:
    pack = {"bt": split, "t": 1_600_000_000 - split, "n": "d", "v": 1}
    (row,) = rows(parse_pack(pack))
    assert row[2] == at("2020-09-13T12:26:40")


@pytest.mark.parametrize(
    ("unit", "value", "of_value", "of_sum"),
    [
        ("Wh", "5", ("Wh", "5"), "Wh.s"),
        ("W", "5", ("W", "5"), "J"),
        ("kW", "5", ("kW", "5"), "kJ"),
        ("l/s", "0.5", ("l/min", "30.0"), "l"),
        ("m3/s", "0.001", ("l/min", "60.000"), "m3"),
        ("Pa", "101325", ("bar", "1.01325"), "Pa.s"),
        ("hPa", "5", ("mbar", "5"), "hPa.s"),
        ("A", "5", ("A", "5"), "C"),
        ("furlong", "5", ("furlong", "5"), "furlong.s"),
        ("", "5", ("", "5"), ""),
    ],
)
def test_units_are_the_platforms_and_sums_are_over_seconds(
    unit: str, value: str, of_value: tuple[str, str], of_sum: str
) -> None:
    text = f'[{{"n":"d","u":"{unit}","v":{value},"s":7}}]'
    measured, total = rows(parse_text(text))
    assert measured[3:] == (Decimal(of_value[1]), of_value[0])
    assert total[1:] == ("main:sum", RECEIVED_AT, Decimal(7), of_sum)
    assert unit_of_value(unit).name == of_value[0]
    assert unit_of_sum(unit).name == of_sum


def test_nul_is_refused_where_it_would_be_stored() -> None:
    for member in ("bn", "n", "u", "bu"):
        body = json.dumps([{"n": "d", "v": 1, member: "a\0"}]).encode()
        with pytest.raises(EnvelopeInvalid, match="U\\+0000"):
            read(body)
        context = Context(now=NOW, received_at=RECEIVED_AT)
        assert errors(parse(body, context)) == [(0, "text_invalid")]
    assert len(rows(parse_pack({"n": "d", "v": 1, "note": "\0"}))) == 1


def test_an_empty_pack_and_an_object_are_refused() -> None:
    for body, code in ((b"[]", "missing_readings"), (b"{}", "malformed_json")):
        with pytest.raises(EnvelopeInvalid) as caught:
            read(body)
        assert caught.value.code == code


numbers = st.decimals(-(10**15), 10**15, allow_nan=False, places=6)
records = st.fixed_dictionaries(
    {"n": st.sampled_from(["a", "b", "c"]), "v": numbers},
    optional={"bv": numbers, "u": st.sampled_from(["Wh", "m3"]), "bu": st.just("W")},
)


@given(st.lists(records, min_size=1, max_size=8))
def test_resolving_a_pack_changes_nothing_that_it_says(
    pack: list[dict[str, Any]],
) -> None:
    """What is resolved by hand and what is not are the same readings."""
    base, unit, resolved = Decimal(0), "", []
    for record in pack:
        base, unit = record.get("bv", base), record.get("bu", unit)
        resolved.append((record["n"], base + record["v"], record.get("u", unit)))
    written = ",".join(
        "{" + ",".join(f'"{k}":{_json(v)}' for k, v in record.items()) + "}"
        for record in [{"bn": "d/"}, *pack]
    )
    found = rows(parse_text(f"[{written}]"))
    assert [(row[1], row[3], row[4]) for row in found] == resolved


def _json(value: object) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else json.dumps(value)


def test_errors_never_repeat_what_was_sent() -> None:
    parsed = parse_pack({"n": "secret", "v": "secret"}, "secret", {"n": "x", "t": "s"})
    assert "secret" not in str(parsed.errors)
    assert all(error.detail in DETAILS.values() for error in parsed.errors)
