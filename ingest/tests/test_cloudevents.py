"""CloudEvents: attributes, the transaction id, data of each format, and batches."""

import base64
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.formats.cloudevents import BATCH_TYPE, EVENT_TYPE
from ingest.formats.cloudevents.envelope import EVENTS_LIMIT
from ingest.formats.interface import Context, Envelope, EnvelopeInvalid
from ingest.formats.parsed import Parsed
from ingest.formats.registry import FORMATS

NOW = datetime(2026, 11, 23, 18, 0, tzinfo=UTC)
CONTEXT = Context(now=NOW, received_at=NOW)
READING = {"at": "2016-01-01T00:00:00Z", "kind": "register", "value": "1.50"}
NATIVE = {"readings": [READING]}
NAME = "https://github.com/cloudevents"


def event(**members: Any) -> dict[str, Any]:
    """Return an event with what the specification demands; `...` leaves out."""
    document = {
        "specversion": "1.0",
        "type": "com.example.someevent",
        "source": NAME,
        "id": "A234-1234-1234",
        "subject": "WM-1",
        "data": NATIVE,
        **members,
    }
    return {key: value for key, value in document.items() if value is not ...}


def read(**members: Any) -> Envelope:
    (envelope,) = FORMATS[EVENT_TYPE].read(json.dumps(event(**members)).encode())
    return envelope


def read_batch(events: Any) -> list[Envelope]:
    return FORMATS[BATCH_TYPE].read(json.dumps(events).encode())


def refusal(**members: Any) -> EnvelopeInvalid:
    with pytest.raises(EnvelopeInvalid) as caught:
        read(**members)
    return caught.value


def parse(**members: Any) -> Parsed:
    return FORMATS[EVENT_TYPE].parse(bytes(read(**members).body), CONTEXT)


def devices(parsed: Parsed) -> list[str]:
    assert parsed.errors == []
    return [row[1] for row in parsed.readings]


# The example of the CloudEvents JSON format, 3.2, with readings for its data.
EXAMPLE = {
    "specversion": "1.0",
    "type": "com.example.someevent",
    "source": "/mycontext",
    "id": "C234-1234-1234",
    "time": "2018-04-05T17:31:00Z",
    "comexampleextension1": "value",
    "comexampleothervalue": 5,
    "unsetextension": None,
    "datacontenttype": "application/json",
    "data": {"device": "WM-1", **NATIVE},
}


def test_the_specifications_example_is_read() -> None:
    body = json.dumps(EXAMPLE).encode()
    (envelope,) = FORMATS[EVENT_TYPE].read(body)
    assert envelope == Envelope(body, "/mycontext C234-1234-1234")
    parsed = FORMATS[EVENT_TYPE].parse(body, CONTEXT)
    assert devices(parsed) == ["WM-1"]
    assert parsed.readings[0][6] == Decimal("1.50")


def test_the_transaction_id_is_the_source_and_the_id() -> None:
    assert read().transaction_id == f"{NAME} A234-1234-1234"
    assert read(source="/a", id="b c").transaction_id == "/a b c"


@given(st.text(min_size=1, max_size=6), st.text(min_size=1, max_size=6))
def test_no_two_events_share_a_transaction_id(source: str, identifier: str) -> None:
    try:
        text = read(source=source, id=identifier).transaction_id
    except EnvelopeInvalid:
        return
    assert text is not None
    assert text.split(" ", 1) == [source, identifier]


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
@pytest.mark.parametrize("value", [..., None, "", 5, [], {}, True, "a\0", "a\x85"])
def test_required_attributes_are_texts(name: str, value: Any) -> None:
    error = refusal(**{name: value})
    assert error.code == "invalid_event"
    assert name in str(error)


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"specversion": "0.3"}, "invalid_event"),
        ({"specversion": "1.0.2"}, "invalid_event"),
        ({"source": "/a b"}, "invalid_event"),
        ({"subject": 5}, "invalid_event"),
        ({"subject": "a\0"}, "invalid_event"),
        ({"datacontenttype": "text/xml"}, "invalid_event"),
        ({"datacontenttype": EVENT_TYPE}, "invalid_event"),
        ({"datacontenttype": BATCH_TYPE}, "invalid_event"),
        ({"id": "i" * 255}, "invalid_transaction_id"),
        ({"data": ...}, "missing_readings"),
        ({"data": None}, "missing_readings"),
        ({"data": {}}, "missing_readings"),
        ({"data": {"readings": 5}}, "missing_readings"),
        ({"data": []}, "malformed_json"),
        ({"data": "readings"}, "malformed_json"),
        ({"data": {"readings": [{"device": "\0"}]}}, "malformed_json"),
        ({"data": {"transaction_id": 5, **NATIVE}}, "invalid_transaction_id"),
        ({"data_base64": "e30="}, "invalid_event"),
        ({"data": ..., "data_base64": 5}, "invalid_event"),
        ({"data": ..., "data_base64": "e30"}, "invalid_event"),
        ({"data": ..., "data_base64": "é30="}, "invalid_event"),
        ({"data": ..., "data_base64": ""}, "malformed_json"),
        ({"data": ..., "data_base64": "e30="}, "missing_readings"),
        ({"data": ..., "data_base64": "/w=="}, "malformed_json"),
        (
            {"datacontenttype": "application/senml+json", "data": []},
            "missing_readings",
        ),
    ],
)
def test_what_is_no_event_is_refused(members: dict[str, Any], code: str) -> None:
    assert refusal(**members).code == code


def test_source_and_id_have_255_characters_together_at_most() -> None:
    assert len(read(source="/s", id="é" * 252).transaction_id or "") == 255
    assert refusal(source="/s", id="é" * 253).code == "invalid_transaction_id"


def test_of_repeated_members_the_last_counts() -> None:
    body = json.dumps(event()).encode().replace(b"{", b'{"id": 5, "data": 7, ', 1)
    (envelope,) = FORMATS[EVENT_TYPE].read(body)
    assert envelope.transaction_id == f"{NAME} A234-1234-1234"
    assert devices(FORMATS[EVENT_TYPE].parse(body, CONTEXT)) == ["WM-1"]


def test_the_subject_is_the_device_of_data_that_names_none() -> None:
    named = {"device": "GM-7", **NATIVE}
    assert devices(parse()) == ["WM-1"]
    assert devices(parse(data=named)) == ["GM-7"]
    assert devices(parse(subject=..., data=named)) == ["GM-7"]
    for subject in (..., None, "", "s" * 256):
        parsed = parse(subject=subject)
        assert [error.code for error in parsed.errors] == ["device_missing"]


def test_the_data_has_the_format_that_its_type_names() -> None:
    pack = [{"n": "1-0:1.8.0", "u": "kWh", "v": 5}]
    for name in ("application/senml+json", "Application/SenML+JSON; charset=utf-8"):
        parsed = parse(datacontenttype=name, data=pack)
        assert [row[1:3] for row in parsed.readings] == [("WM-1", "1-0:1.8.0")]
    assert devices(parse(datacontenttype="application/json; charset=utf-8")) == ["WM-1"]


def test_data_may_be_base64_of_the_same() -> None:
    for data, name in ((NATIVE, ...), ([{"v": 1.5}], "application/senml+json")):
        encoded = base64.b64encode(json.dumps(data).encode()).decode()
        parsed = parse(data=..., data_base64=encoded, datacontenttype=name)
        assert devices(parsed) == ["WM-1"]
        assert parsed.readings[0][6] == Decimal("1.5")


def test_a_bad_reading_in_the_data_is_refused_alone() -> None:
    parsed = parse(data={"readings": [READING, {**READING, "quality": "Z"}]})
    assert len(parsed.readings) == 1
    assert [(one.index, one.code) for one in parsed.errors] == [(1, "quality_unknown")]


def test_depth_is_counted_over_the_whole_body() -> None:
    def nested(depth: int) -> bytes:
        deep = json.loads("[" * depth + "]" * depth)
        return json.dumps(event(data={"readings": deep})).encode()

    assert FORMATS[EVENT_TYPE].read(nested(62))
    with pytest.raises(EnvelopeInvalid, match="64"):
        FORMATS[EVENT_TYPE].read(nested(63))
    with pytest.raises(EnvelopeInvalid, match="64"):
        FORMATS[BATCH_TYPE].read(b"[" + nested(62) + b"]")


def test_each_event_of_a_batch_keeps_its_own_bytes() -> None:
    first = json.dumps(event(id="1"), indent=3).encode()
    second = json.dumps(event(id="2", subject="é"), ensure_ascii=False).encode()
    body = b" [\n" + first + b" ,\t" + second + b"\n] "
    assert FORMATS[BATCH_TYPE].read(body) == [
        Envelope(first, f"{NAME} 1"),
        Envelope(second, f"{NAME} 2"),
    ]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (5, "invalid_event"),
        ([], "invalid_event"),
        ({}, "invalid_event"),
        (event(id=...), "invalid_event"),
        (event(data={}), "missing_readings"),
        (event(id="i" * 300), "invalid_transaction_id"),
    ],
)
@pytest.mark.parametrize("index", [0, 2])
def test_one_bad_event_refuses_the_batch_and_is_named(
    bad: Any, code: str, index: int
) -> None:
    events: list[Any] = [event(id=str(n)) for n in range(4)]
    events.insert(index, bad)
    with pytest.raises(EnvelopeInvalid) as caught:
        read_batch(events)
    assert (caught.value.code, caught.value.index) == (code, index)
    assert str(caught.value).startswith(f"Event {index}: ")


def test_a_batch_has_one_to_a_thousand_events() -> None:
    assert len(read_batch([event(id=str(n)) for n in range(EVENTS_LIMIT)])) == 1_000
    for events, code in (
        ([], "invalid_batch"),
        (event(), "invalid_batch"),
        ("x", "invalid_batch"),
        ([event()] * (EVENTS_LIMIT + 1), "batch_too_long"),
    ):
        with pytest.raises(EnvelopeInvalid) as caught:
            read_batch(events)
        assert caught.value.code == code


def test_a_refusal_echoes_nothing_of_the_body() -> None:
    for members in (
        {"specversion": "secret"},
        {"datacontenttype": "secret"},
        {"source": "se cret"},
        {"data": "secret"},
    ):
        assert "cret" not in str(refusal(**members))
