"""Filters: what passes, what is refused, and what a group of 100,000 costs."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subscriptions.filtering import (
    DIMENSIONS,
    MOST_VALUES,
    About,
    Filter,
    FiltersInvalid,
    Subject,
    checked,
    compiled,
    names,
)

SOURCE = "src_0193589d1e0c7cc0b1f4c2c5a1f0d9aa"
OTHER = "src_0193589d1e0c7cc0b1f4c2c5a1f0d9ab"
GAS = Subject("WM-1", "7-0:3.0.0", "gas")
WATER = Subject("WM-2", "8-0:1.0.0", "water")


def make(filters: dict[str, list[str]]) -> Filter:
    found = compiled(msgspec.json.encode(filters).decode())
    assert found is not None
    return found


def passes(filters: dict[str, list[str]], *subjects: Subject, source: str = "") -> bool:
    groups = {"pilot": names(["WM-2", "north/*"])}
    return make(filters).passes(source, About(subjects), groups)


def test_no_filter_is_none() -> None:
    assert compiled("{}") is None


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"devices": ["WM-1"]}, True),
        ({"devices": ["WM-3", "WM-*"]}, True),
        ({"devices": ["wm-1", "WM-10", "WM"]}, False),
        ({"devices": ["*"]}, True),
        ({"commodities": ["gas"]}, True),
        ({"commodities": ["heat"]}, False),
        ({"channels": ["7-0:*"]}, True),
        ({"channels": ["7-0"]}, False),
        ({"devices": ["WM-1"], "commodities": ["gas"]}, True),
        # One of the two has the device, the other one the commodity.
        ({"devices": ["WM-1"], "commodities": ["water"]}, False),
        ({"devices": ["WM-2"], "channels": ["8-*"], "commodities": ["wat*"]}, True),
        ({"device_groups": ["pilot"]}, True),
        ({"device_groups": ["gone"]}, False),
        ({"device_groups": ["gone"], "devices": ["WM-1"]}, True),
        ({"device_groups": ["pilot"], "commodities": ["gas"]}, False),
    ],
)
def test_event_passes_when_one_subject_passes_everything(
    filters: dict[str, list[str]], expected: bool
) -> None:
    assert passes(filters, GAS, WATER) is expected


@pytest.mark.parametrize(
    "dimension", [name for name in DIMENSIONS if name != "sources"]
)
def test_event_about_nothing_passes_no_filter_of_subjects(dimension: str) -> None:
    assert not passes({dimension: ["*" if dimension != "device_groups" else "pilot"]})


def test_event_about_a_device_alone_has_no_channel() -> None:
    assert passes({"devices": ["WM-1"]}, Subject("WM-1"))
    assert not passes({"channels": ["*"]}, Subject("WM-1"))


def test_source_that_is_not_named_passes_nothing() -> None:
    assert passes({"sources": [SOURCE]}, source=SOURCE)
    assert not passes({"sources": [SOURCE]}, GAS, source=OTHER)
    assert not passes({"sources": [SOURCE]}, GAS)
    assert not passes({"sources": [SOURCE], "devices": ["X"]}, GAS, source=SOURCE)


@given(
    st.lists(st.text(st.sampled_from("ab*"), min_size=1, max_size=4), max_size=6),
    st.text(st.sampled_from("ab*"), min_size=1, max_size=4),
)
def test_names_are_what_their_patterns_say(patterns: list[str], name: str) -> None:
    expected = any(
        name.startswith(one[:-1]) if one.endswith("*") else name == one
        for one in patterns
    )
    assert names(patterns).has(name) is expected


def test_group_of_100_000_is_asked_by_look_ups() -> None:
    group = names([f"WM-{number}" for number in range(100_000)] + ["north/*"])
    assert group.has("WM-99999")
    assert group.has("north/7")
    assert not group.has("WM-100000")
    assert len(group.beginnings) == 1


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.lists(
                st.sampled_from(["a", "b", "a*", "*"]), min_size=1, max_size=2
            )
            for name in ("devices", "channels", "commodities")
        },
    ).filter(bool),
    st.lists(
        st.builds(Subject, *[st.sampled_from(["a", "b", "ab", "c"])] * 3), max_size=3
    ),
)
def test_looking_at_dimensions_first_changes_no_answer(
    filters: dict[str, list[str]], subjects: list[Subject]
) -> None:
    asked = make(filters)
    expected = any(asked._passes(one, asked._devices({})) for one in subjects)
    assert asked.passes("", About(subjects), {}) is expected


def test_filters_are_kept_without_repetitions() -> None:
    given_ = {"devices": ["b", "a", "b"], "sources": [SOURCE]}
    assert checked(given_) == {"devices": ["b", "a"], "sources": [SOURCE]}
    assert checked({}) == {}


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ([], "an object is expected"),
        ({"device": ["a"]}, "'device' is none of devices, device_groups"),
        ({"devices": "a"}, "devices: a list is expected"),
        ({"devices": ["a"], "channels": []}, "channels: an empty list would let"),
        ({"devices": [7]}, "devices[0]: a text is expected"),
        ({"devices": ["a", ""]}, "devices[1]: 1 to 255 characters"),
        ({"devices": ["a" * 256]}, "devices[0]: 1 to 255 characters"),
        ({"channels": ["a\0"]}, "channels[0]: a character that no text has"),
        ({"channels": ["\ud800"]}, "channels[0]: a character that no text has"),
        ({"sources": ["head-end"]}, "'head-end' is no source's id"),
        ({"sources": ["src_*"]}, "is no source's id"),
        (
            {"devices": [str(n) for n in range(MOST_VALUES)], "channels": ["x"]},
            "more than 1,000 values",
        ),
    ],
)
def test_what_cannot_be_a_filter_is_refused(filters: Any, said: str) -> None:
    with pytest.raises(FiltersInvalid) as refused:
        checked(filters)
    assert said in str(refused.value)
