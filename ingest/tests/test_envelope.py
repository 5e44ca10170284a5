"""What the listener takes for JSON, and what it says of the rest."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.formats.interface import Envelope, EnvelopeInvalid
from ingest.formats.native.envelope import read
from ingest.formats.strict_json import COMMAS_LIMIT, DEPTH_LIMIT


def body(**members: object) -> bytes:
    return json.dumps({"transaction_id": "t", "readings": [], **members}).encode()


def read_envelope(raw: bytes) -> Envelope:
    (envelope,) = read(raw)
    assert envelope.body is raw
    return envelope


def refusal(raw: bytes) -> EnvelopeInvalid:
    with pytest.raises(EnvelopeInvalid) as caught:
        read_envelope(raw)
    return caught.value


def test_the_transaction_id_is_read_and_may_be_absent() -> None:
    assert read_envelope(body(transaction_id="a/1")).transaction_id == "a/1"
    assert not read_envelope(b'{"readings": []}').transaction_id


def test_of_repeated_members_the_last_counts() -> None:
    raw = b'{"transaction_id": 5, "readings": 1, "transaction_id": "x", "readings": []}'
    assert read_envelope(raw).transaction_id == "x"
    assert refusal(b'{"readings": [], "readings": {}}').code == "missing_readings"


@pytest.mark.parametrize("length", [1, 255])
def test_a_transaction_id_has_1_to_255_characters(length: int) -> None:
    assert read_envelope(body(transaction_id="é" * length)).transaction_id


def test_a_null_transaction_id_is_absent() -> None:
    assert read_envelope(body(transaction_id=None)).transaction_id is None


@pytest.mark.parametrize("value", [7, True, [], {}, "", "x" * 256])
def test_another_transaction_id_is_invalid(value: object) -> None:
    assert refusal(body(transaction_id=value)).code == "invalid_transaction_id"


@pytest.mark.parametrize("value", [None, 7, {}, "[]"])
def test_readings_are_an_array(value: object) -> None:
    assert refusal(body(readings=value)).code == "missing_readings"
    assert refusal(b'{"transaction_id": "t"}').code == "missing_readings"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"[]",
        b"5",
        b'"x"',
        b"null",
        b'{"readings": [NaN]}',
        b'{"readings": [-Infinity]}',
        b'{"readings": [01]}',
        b'{"readings": [1.]}',
        b'{"readings": [],}',
        b"{'readings': []}",
        b'{"readings": []} x',
        b'{"readings": []}\x00',
        b'{"readings": ["\t"]}',
        b'{"readings": ["\\x"]}',
        b'{"readings": ["\xff"]}',
        b'{"readings": ["\xed\xa0\x80"]}',
        b'{"readings": ["\xc0\xaf"]}',
        b'{"readings": [], "\xff": 1}',
        b'\xef\xbb\xbf{"readings": []}',
        '{"readings": []}'.encode("utf-16"),
        b'{"readings": [{"device": "\\ud800"}]}',
        b'{"readings": [], "transaction_id": "\\udc00"}',
    ],
)
def test_what_is_not_rfc_8259_in_utf_8_is_malformed(raw: bytes) -> None:
    assert refusal(raw).code == "malformed_json"


@pytest.mark.parametrize(
    "rest",
    [
        b'"readings": [}',
        b'"readings": []} x',
        b'"x": %s' % (b"[" * 100_000),
        b'"transaction_id": "\\ud800", "readings": []}',
    ],
)
def test_what_is_broken_behind_a_wrong_type_is_malformed_too(rest: bytes) -> None:
    assert refusal(b'{"transaction_id": 5, ' + rest).code == "malformed_json"


def test_a_refusal_says_where_and_echoes_nothing() -> None:
    assert "byte 14" in str(refusal(b'{"readings": [secret]}'))
    assert "byte 15" in str(refusal(b'{"readings": ["\xff"]}'))
    assert "secret" not in str(refusal(b'{"readings": [secret]}'))


@pytest.mark.parametrize("number", ["1e999", "1" * 5000, "-0", "1E-400", "0.1e+7"])
def test_numbers_beyond_a_double_may_stand_in_a_reading(number: str) -> None:
    read_envelope(b'{"readings": [{"value": %s}]}' % number.encode())


def nested(depth: int, text: str = "") -> bytes:
    inner = depth - 2
    return b'{"readings": [%s%s%s]}' % (
        b"[" * inner,
        json.dumps(text).encode(),
        b"]" * inner,
    )


def test_depth_is_limited_however_the_text_inside_looks() -> None:
    for text in ("", "[" * 200, '\\"[{' * 50, "\\" * 7, '"]}' * 99):
        read_envelope(nested(DEPTH_LIMIT, text))
        assert "64" in str(refusal(nested(DEPTH_LIMIT + 1, text)))
    for depth in (1_000, 100_000):
        assert refusal(nested(depth)).code == "malformed_json"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=40,
)


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@given(value=json_values, wraps=st.integers(55, 66), filler=st.integers(0, 3))
def test_depth_is_what_a_parser_counts(value: object, wraps: int, filler: int) -> None:
    for _ in range(wraps):
        value = [value]
    document = {"readings": [value] + [[{}]] * filler * 30}
    raw = json.dumps(document, ensure_ascii=filler == 0).encode(
        "utf-8", "surrogatepass"
    )
    accepted = True
    try:
        read_envelope(raw)
    except EnvelopeInvalid as error:
        accepted = "64" not in str(error)
    assert accepted == (depth_of(document) <= DEPTH_LIMIT)


@pytest.mark.parametrize("member", ["device", "channel", "unit", "quality", "value"])
def test_nul_is_refused_in_texts_that_are_stored(member: str) -> None:
    assert refusal(body(readings=[{}, {member: "a\0b"}])).code == "malformed_json"


def test_nul_in_the_device_above_or_the_transaction_id_is_refused() -> None:
    assert refusal(body(device="\0")).code == "malformed_json"
    assert refusal(body(transaction_id="\0")).code == "malformed_json"


def test_nul_may_stand_where_nothing_is_stored() -> None:
    read_envelope(
        body(note="\0", readings=[{"comment": "\0"}, 5, {"device": "\\u0000"}])
    )


def test_values_are_counted_before_they_are_looked_at() -> None:
    frame = b'{"readings":[0%s]}'
    read_envelope(frame % (b",0" * COMMAS_LIMIT))
    assert "1,000,000 values" in str(refusal(frame % (b",0" * (COMMAS_LIMIT + 1))))


def test_ten_mebibytes_are_judged_in_well_under_a_second() -> None:
    reading = b'{"channel":"1-0:1.8.0","value":"0.1","unit":"kWh","note":"\\"[["},'
    raw = b'{"readings":[%s{}]}' % (reading * (10 * 1024 * 1024 // len(reading)))
    started = time.process_time()
    read_envelope(raw)
    assert time.process_time() - started < 0.5
