"""One request that carries several messages, and the answer to it."""

import json
from datetime import datetime

import pytest

from subscriptions.batches import (
    BATCH_BYTES,
    DETAIL_LIMIT,
    Verdict,
    batch_body,
    portions,
    verdicts,
)

_BODY = (
    b'{"id":"msg_1","type":"reading.corrected","timestamp":"2026-11-23T18:21:00Z",'
    b'"tenant":"acme","data":{"b": 0.10, "a":"\xc3\xa9"}}'
)
_ORDERED = (
    b'{"id":"msg_2","type":"callback.processed","timestamp":"2026-11-23T18:21:01Z",'
    b'"tenant":"acme","device":"WM-1","sequence":12,"previous_id":"msg_0","data":{}}'
)
_MANY = _ORDERED.replace(
    b'"device":"WM-1","sequence":12,"previous_id":"msg_0"',
    b'"order":[{"device":"WM-1","sequence":3,"previous_id":null}]',
)
IDS = ["msg_1", "msg_2", "msg_3"]


def statuses(status: int | None, body: bytes) -> list[int | None]:
    found = verdicts(status, body, IDS)
    assert list(found) == IDS
    return [verdict.status_code for verdict in found.values()]


def answer(*results: object) -> bytes:
    return json.dumps({"results": results}).encode()


def test_a_batch_is_a_list_of_cloud_events() -> None:
    items = [("msg_1", _BODY), ("msg_2", _ORDERED), ("msg_3", _MANY)]
    one, two, three = json.loads(batch_body(items, "https://gridhook.example/acme"))
    assert one == {
        "specversion": "1.0",
        "id": "msg_1",
        "source": "https://gridhook.example/acme",
        "type": "reading.corrected",
        "time": "2026-11-23T18:21:00Z",
        "datacontenttype": "application/json",
        "tenant": "acme",
        "data": {"a": "é", "b": 0.1},
    }
    assert (int(two["sequence"]), two["previousid"]) == (12, "msg_0")
    assert two["device"] == "WM-1"
    assert json.loads(three["order"]) == [
        {"device": "WM-1", "sequence": 3, "previous_id": None}
    ]
    for event in (one, two, three):
        datetime.fromisoformat(event["time"])
        # What CloudEvents 1.0 allows of a context attribute.
        for name in event.keys() - {"data"}:
            assert name.isalnum()
            assert name == name.lower()
            assert isinstance(event[name], str)


def test_data_keeps_the_bytes_of_the_message() -> None:
    assert b'"data":{"b": 0.10, "a":"\xc3\xa9"}' in batch_body([("msg_1", _BODY)], "s")


def test_what_goes_together_is_bounded_in_number_and_bytes() -> None:
    def sizes(bodies: list[bytes], most: int = 500) -> list[int]:
        return [len(bodies[one]) for one in portions(bodies, most)]

    half = b"x" * (BATCH_BYTES // 2)
    assert sizes([]) == []
    assert sizes([b"x"] * 7, most=3) == [3, 3, 1]
    assert sizes([half] * 5) == [2, 2, 1]
    # One that is larger alone goes alone.
    assert sizes([b"x", half * 3, b"x", half]) == [1, 1, 2]


@pytest.mark.parametrize(
    "body", [b"", b"thanks", b"{}", b"[]", b'{"status":"ok"}', b"\xff", b"[" * 65_536]
)
@pytest.mark.parametrize("status", [200, 202, 204])
def test_a_yes_without_a_list_is_a_yes_to_all(status: int, body: bytes) -> None:
    assert statuses(status, body) == [status] * 3


@pytest.mark.parametrize("status", [200, 207])
def test_each_message_has_the_verdict_that_names_it(status: int) -> None:
    body = answer(
        {"id": "msg_2", "status": 422, "detail": "no such meter"},
        {"id": "msg_1", "status": 200},
        {"id": "msg_another", "status": 200},
    )
    found = verdicts(status, body, IDS)
    assert found["msg_1"] == Verdict(200)
    assert found["msg_2"] == Verdict(422, "no such meter")
    assert [one.is_accepted for one in found.values()] == [True, False, False]
    assert found["msg_3"].detail


@pytest.mark.parametrize(
    "body",
    [
        b'{"results":[{"id":"msg_1","status":200},{"id":"msg_2","sta',
        b'{"results":null}',
        b'{"results":{"msg_1":200}}',
        b'{"results":[]}',
        answer(None, 1, "msg_1", ["msg_1", 200], {"id": "msg_1"}, {"status": 200}),
        answer({"id": "msg_1", "status": "200"}, {"id": "msg_2", "status": True}),
        answer({"id": "msg_1", "status": 2}, {"id": "msg_2", "status": 10**30}),
        answer({"id": ["msg_1"], "status": 200}, {"id": "msg_2", "status": 200.0}),
        b'{"results":' + b"[" * 60_000,
    ],
)
def test_what_a_list_does_not_clearly_accept_is_not_accepted(body: bytes) -> None:
    for status in (200, 207):
        assert statuses(status, body) == [None] * 3


@pytest.mark.parametrize("first", [200, 503])
def test_of_two_verdicts_that_contradict_each_other_the_refusal_counts(
    first: int,
) -> None:
    said = [{"id": "msg_1", "status": status} for status in (first, 703 - first)]
    assert statuses(207, answer(*said)) == [503, None, None]


def test_207_without_a_list_accepts_nothing() -> None:
    assert statuses(207, b"") == statuses(207, b"{}") == [None] * 3


@pytest.mark.parametrize("status", [None, 100, 301, 400, 429, 500])
def test_any_other_answer_stands_for_all(status: int | None) -> None:
    assert statuses(status, answer({"id": "msg_1", "status": 200})) == [status] * 3


def test_what_is_said_of_a_message_is_cut_and_can_be_stored() -> None:
    body = answer({"id": "msg_1", "status": 400, "detail": "no\0\x1b[1m " + "x" * 999})
    detail = verdicts(200, body, IDS)["msg_1"].detail
    assert detail.startswith("no  [1m xxx")
    assert len(detail) <= DETAIL_LIMIT
    odd = answer({"id": "msg_1", "status": 400, "detail": {"code": 1}})
    assert verdicts(200, odd, IDS)["msg_1"] == Verdict(400)
