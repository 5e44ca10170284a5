"""Consent, duplicates, gaps, batches and manifests, beside the platform's own code."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import strategies as st

from gridhook_client import (
    Message,
    Place,
    Seen,
    Unreadable,
    batch_answer,
    challenge_answer,
    ids_hash,
    made_at,
    missing,
    options_headers,
)
from subscriptions.batches import BATCH_LIMIT, verdicts
from tenants.identifiers import created_at, new_id, public_id

ORIGIN = "gridhook.example"


def message(message_id: str, *places: Place, **data: Any) -> Message:
    kind = "delivery.manifest" if data else "callback.processed"
    return Message(message_id, kind, datetime.now(tz=UTC), "acme", data, places)


@pytest.mark.parametrize("origins", [["*"], [ORIGIN.upper()], ["other", ORIGIN]])
def test_an_origin_that_may_send_is_named_with_its_rate(origins: list[str]) -> None:
    asked = {"webhook-request-ORIGIN": "Gridhook.example"}
    assert options_headers(asked, origins=origins, rate_per_min=120) == {
        "WebHook-Allowed-Origin": ORIGIN,
        "WebHook-Allowed-Rate": "120",
    }
    assert options_headers(asked, origins=origins)["WebHook-Allowed-Rate"] == "*"
    pairs = [(name.encode(), value.encode()) for name, value in asked.items()]
    assert options_headers(pairs, origins=origins)["WebHook-Allowed-Origin"] == ORIGIN


@pytest.mark.parametrize(
    "origin", ["", "other.example", "a\r\nSet-Cookie: x", "é.example", "a" * 600]
)
def test_another_origin_is_given_no_consent(origin: str) -> None:
    assert options_headers({"WebHook-Request-Origin": origin}, origins=[ORIGIN]) == {}
    assert options_headers({}, origins=["*"]) == {}
    assert options_headers([("a",)], origins=["*"]) == {}  # type: ignore[list-item]
    if origin != "other.example":
        assert options_headers({"WebHook-Request-Origin": origin}, origins=["*"]) == {}


def test_a_challenge_is_repeated_and_nothing_else() -> None:
    assert challenge_answer("hub.mode=subscribe&hub.challenge=a%2Bb") == b"a+b"
    for query in (
        "", "hub.challenge=a", "hub.mode=unsubscribe&hub.challenge=a",
        "hub.mode=subscribe", "hub.mode=subscribe&hub.challenge=a&hub.challenge=b",
        "hub.mode=subscribe&hub.challenge=%0d%0a", "hub.mode=subscribe&hub.challenge=é",
        "hub.mode=subscribe&hub.challenge=" + "a" * 513, "a=b&" * 30, "x" * 9000,
    ):  # fmt: skip
        assert challenge_answer(query) is None


@given(query=st.text())
def test_no_query_raises(query: str) -> None:
    assert (challenge_answer(query) or b"").isascii()


def test_the_platform_reads_our_verdicts() -> None:
    body = batch_answer({"msg_1": 200, "msg_2": (422, "no such meter"), "msg_3": 503})
    found = verdicts(207, body, ["msg_1", "msg_2", "msg_3", "msg_4"])
    assert [one.is_accepted for one in found.values()] == [True, False, False, False]
    assert (found["msg_2"].status_code, found["msg_2"].detail) == (422, "no such meter")
    assert found["msg_4"].status_code is None
    assert json.loads(body)["results"][0] == {"id": "msg_1", "status": 200}


def test_an_answer_that_would_be_cut_off_is_given_without_words() -> None:
    ids = [public_id("msg", new_id()) for _ in range(BATCH_LIMIT)]
    wordy = batch_answer(dict.fromkeys(ids, (422, "no such meter é" * 20)))
    assert len(wordy) <= settings.RESPONSE_LIMIT_BYTES
    assert {one.status_code for one in verdicts(207, wordy, ids).values()} == {422}


def test_a_message_is_new_once_as_long_as_it_is_remembered() -> None:
    seen = Seen(memory=2)
    assert [seen.note(message(i)) for i in "aab"] == [True, False, True]
    assert "a" in seen
    seen.note(message("c"))
    assert "a" not in seen
    assert seen.note(message("a"))


def test_a_gap_is_the_message_before_that_never_came() -> None:
    seen = Seen()
    first = message("m1", Place("WM-1", 1, None))
    third = message("m3", Place("WM-1", 3, "m2"), Place("WM-2", 9, "m1"))
    assert seen.gaps(first) == []
    seen.note(first)
    assert seen.gaps(third) == ["m2"]
    seen.note(message("m2"))
    assert seen.gaps(third) == []


ANYTHING = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)


@given(
    data=st.dictionaries(
        st.sampled_from(["day", "messages", "ids_hash", "devices"]), ANYTHING
    )
)
def test_no_manifest_raises_another_error(data: dict[str, Any]) -> None:
    try:
        found = missing(message("m9", **{"x": 1, **data}), ["m1"], {})
    except Unreadable:
        return
    assert not found.is_complete


def test_an_id_says_when_its_message_was_made() -> None:
    message_id = new_id()
    assert made_at(public_id("msg", message_id)) == created_at(message_id)
    alike = ("_".join("1" * 16) + "1", " " + "1" * 31, "1" * 31 + "\n", "\u0661" * 32)
    wrong = ["msg_" + digits for digits in ("", "x" * 32, "1", *alike)]
    for text in ("", "1" * 32, *wrong):
        with pytest.raises(ValueError, match=r"."):
            made_at(text)


def manifest(**changes: Any) -> Message:
    data = {
        "day": "2026-11-22",
        "messages": 3,
        "ids_hash": ids_hash(["m1", "m2", "m3"]),
        "devices": [
            {"device": "WM-1", "messages": 2, "ids_hash": ids_hash(["m1", "m2"])},
            {"device": "WM-2", "messages": 1, "ids_hash": ids_hash(["m3"])},
        ],
    }
    return message("m9", **{**data, **changes})


def test_the_hash_is_of_sorted_ids_by_line() -> None:
    assert ids_hash(["b", "a", "b"]) == hashlib.sha256(b"a\nb").hexdigest()
    assert ids_hash([]) == hashlib.sha256(b"").hexdigest()


def test_a_complete_day_is_proven_and_what_is_missing_is_found_by_device() -> None:
    whole = missing(manifest(), ["m3", "m1", "m2"], {})
    assert (whole.is_complete, whole.expected, whole.seen) == (True, 3, 3)
    assert whole.devices == ()
    part = missing(manifest(), ["m1", "m3"], {"WM-1": ["m1"], "WM-2": ["m3"]})
    assert (part.is_complete, part.seen, part.devices) == (False, 2, ("WM-1",))
    assert missing(manifest(), [], {}).devices == ("WM-1", "WM-2")


@pytest.mark.parametrize(
    "changes",
    [{"devices": 5}, {"devices": [1]}, {"devices": [{}]}, {"messages": "3"}],
)
def test_what_is_no_manifest_is_one_error(changes: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        missing(manifest(**changes), [], {})
    with pytest.raises(Unreadable):
        missing(message("m1"), [], {})
