"""How raw bodies are shown: as JSON, text or bytes, within bounds."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.bodies import SHOWN_BYTES, named_devices, show_body


def test_json_is_indented_number_by_number() -> None:
    shown = show_body(b'{"a":1.10,"b":[1e400]}')
    assert (shown.form, shown.is_cut, shown.size_bytes) == ("json", False, 22)
    assert '"a": 1.10' in shown.text
    assert "1e400" in shown.text


@pytest.mark.parametrize(
    ("raw", "form"),
    [(b"", "text"), (b"[[1", "text"), (b"\xff", "hex"), (b"a\x00", "hex"),
     ("é\n".encode(), "text"), (b'{"a":"\xff"}', "hex")],
)  # fmt: skip
def test_what_is_no_json_is_text_and_what_is_no_text_is_bytes(
    raw: bytes, form: str
) -> None:
    assert show_body(raw).form == form


def test_a_character_that_the_cut_halves_is_left_out() -> None:
    raw = b"x" + "é".encode() * SHOWN_BYTES
    shown = show_body(raw)
    assert shown.is_cut
    assert shown.text == raw[: SHOWN_BYTES - 1].decode()


def test_deep_json_does_not_grow_without_bound() -> None:
    for depth in (500, 995, 32_000):
        raw = b"[" * depth + b"]" * depth
        assert len(show_body(raw).text) <= 4 * SHOWN_BYTES
        assert named_devices(raw) == []


@given(st.binary(max_size=2_000))
def test_any_bytes_are_shown(raw: bytes) -> None:
    shown = show_body(raw)
    assert shown.size_bytes == len(raw)
    assert isinstance(named_devices(raw), list)


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (
            {"device": "a", "readings": [{"device": "b"}, {"device": "a"}, 3]},
            ["a", "b"],
        ),
        ({"device": 7, "readings": {"device": "c"}}, ["c"]),
        ([{"bn": "urn:dev:ow:10:", "n": "t"}, {"n": "u"}], ["urn:dev:ow:10"]),
        ([{"id": "1", "data": {"device": "d", "readings": []}}], ["d"]),
        ({"readings": [{"device": str(n)} for n in range(9)]}, ["0", "1", "2"]),
        ("text", []),
    ],
)
def test_devices_are_named_whatever_the_format(body: object, names: list[str]) -> None:
    assert named_devices(json.dumps(body).encode()) == names
