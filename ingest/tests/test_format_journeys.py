"""Every format from the socket to its readings, and batches as a whole."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from ingest.formats.cloudevents import BATCH_TYPE, EVENT_TYPE
from ingest.models import CallbackState
from ingest.tests.accepting import Inlet, drain
from ingest.tests.fixtures import Fixture, fixtures
from ingest.tests.listening import Answer, Running, Sender, new_sender, stored
from tenants.identifiers import parse_public_id
from tenants.models import Tenant
from tenants.services import NewTenant

SENML_TYPE = "application/senml+json"


def post(listener: Running, sender: Sender, body: bytes, content_type: str) -> Answer:
    headers = {**sender.hub(body), "Content-Type": content_type}
    return listener.ask(sender.path, body, headers)


def event(identifier: str, value: int = 1, **members: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": identifier,
        "source": "/h",
        "type": "t",
        "subject": f"WM-{identifier}",
        "data": {
            "readings": [
                {
                    "at": "2016-01-01T00:00:00Z",
                    "kind": "register",
                    "unit": "m3",
                    "value": value,
                }
            ]
        },
        **members,
    }


def post_batch(listener: Running, sender: Sender, *events: Any) -> Answer:
    return post(listener, sender, json.dumps(events).encode(), BATCH_TYPE)


def receipts(answer: Answer) -> list[str]:
    return [one["receipt"] for one in answer.document["receipts"]]


@pytest.mark.parametrize(
    "example", fixtures(), ids=lambda one: f"{one.format_name}/{one.file_name}"
)
def test_an_example_goes_from_the_socket_to_its_readings(
    listener: Running, sender: Sender, tenant: Tenant, example: Fixture
) -> None:
    answer = post(listener, sender, example.body, example.content_type)
    assert answer.status == 202
    document = answer.document
    listed = document["receipts"] if example.is_batch else [document]
    names = sorted(one["transaction_id"] for one in listed)
    assert [row[0] for row in stored(tenant)] == names
    drain()
    lane = Inlet(tenant, sender.source)
    for one in listed:
        callback = lane.callback(parse_public_id("rcp", one["receipt"]))
        assert callback.state == CallbackState.PROCESSED
        assert callback.stored > 0
        assert callback.errors is None
    again = post(listener, sender, example.body, example.content_type)
    assert again.status == 200
    assert again.document["status"] == "duplicate"
    if not example.is_batch:
        assert again.document["receipt"] == document["receipt"]
        assert [row[1:] for row in stored(tenant)] == [
            (example.body, example.content_type)
        ]


def test_a_senml_pack_is_named_by_its_bytes_or_by_its_delivery(
    listener: Running, sender: Sender, standard: Sender, tenant: Tenant
) -> None:
    body = b'[{"n": "WM-1", "u": "kWh", "v": 5}]'
    answer = post(listener, sender, body, f"{SENML_TYPE}; charset=utf-8")
    digest = hashlib.sha256(body).hexdigest()
    assert answer.status == 202
    assert answer.document["transaction_id"] == f"sha256:{digest}"
    headers = {**standard.standard(body, message_id="m-1"), "Content-Type": SENML_TYPE}
    answer = listener.ask(standard.path, body, headers)
    assert answer.document["transaction_id"] == "m-1"
    kinds = {row[2] for row in stored(tenant)}
    assert kinds == {SENML_TYPE}


def test_relative_times_are_counted_from_when_the_listener_took_them(
    listener: Running, sender: Sender, tenant: Tenant
) -> None:
    body = b'[{"bn": "WM-1", "u": "kWh", "v": 5}, {"t": -60, "v": 4}]'
    answer = post(listener, sender, body, SENML_TYPE)
    drain()
    lane = Inlet(tenant, sender.source)
    received_at = lane.callback(
        parse_public_id("rcp", answer.document["receipt"])
    ).received_at
    earlier, now = lane.readings("WM-1")
    assert now.start_at == received_at
    assert (now.start_at - earlier.start_at).total_seconds() == 60
    assert (earlier.value, now.value) == (Decimal(4), Decimal(5))


def test_several_units_under_one_name_are_refused_but_the_first(
    listener: Running, sender: Sender, tenant: Tenant
) -> None:
    body = b'[{"bn": "WM-1", "u": "%RH", "v": 20}, {"t": 1, "u": "lat", "v": 60}]'
    answer = post(listener, sender, body, SENML_TYPE)
    drain()
    lane = Inlet(tenant, sender.source)
    callback = lane.callback(parse_public_id("rcp", answer.document["receipt"]))
    assert callback.state == CallbackState.PARTLY_REJECTED
    assert [error["code"] for error in callback.errors or []] == ["unit_mismatch"]


def test_an_event_is_named_by_itself_however_it_is_delivered(
    listener: Running, standard: Sender, tenant: Tenant
) -> None:
    body = json.dumps(event("7")).encode()
    kinds = {"Content-Type": EVENT_TYPE}
    answers = [
        listener.ask(
            standard.path, body, {**standard.standard(body, message_id=name), **kinds}
        )
        for name in ("m-1", "m-2")
    ]
    assert [answer.status for answer in answers] == [202, 200]
    assert {answer.document["transaction_id"] for answer in answers} == {"/h 7"}
    assert len({answer.document["receipt"] for answer in answers}) == 1


def test_a_batch_is_answered_with_a_receipt_for_each_event(
    listener: Running, sender: Sender, tenant: Tenant
) -> None:
    first = post_batch(listener, sender, event("b"), event("a"), event("b"))
    assert first.status == 202
    assert first.headers["content-type"] == "application/json"
    assert first.document["status"] == "accepted"
    assert [
        (one["status"], one["transaction_id"]) for one in first.document["receipts"]
    ] == [("accepted", "/h b"), ("accepted", "/h a"), ("duplicate", "/h b")]
    b, a, again = receipts(first)
    assert (a != b, again) == (True, b)
    second = post_batch(listener, sender, event("a"), event("c"))
    assert second.status == 202
    assert [one["status"] for one in second.document["receipts"]] == [
        "duplicate",
        "accepted",
    ]
    assert receipts(second)[0] == a
    third = post_batch(listener, sender, event("c"), event("b"))
    assert (third.status, third.document["status"]) == (200, "duplicate")
    assert [row[0] for row in stored(tenant)] == ["/h a", "/h b", "/h c"]
    assert {row[2] for row in stored(tenant)} == {EVENT_TYPE}
    alone = json.dumps(event("a")).encode()
    single = post(listener, sender, alone, EVENT_TYPE)
    assert (single.status, single.document["receipt"]) == (200, a)


def test_one_bad_reading_in_a_batch_rejects_its_event_alone(
    listener: Running, sender: Sender, tenant: Tenant
) -> None:
    bad = event("2", data={"readings": [{"at": "never"}]})
    answer = post_batch(listener, sender, event("1"), bad, event("3"))
    drain()
    lane = Inlet(tenant, sender.source)
    assert [
        lane.callback(parse_public_id("rcp", text)).state for text in receipts(answer)
    ] == [CallbackState.PROCESSED, CallbackState.REJECTED, CallbackState.PROCESSED]


def test_a_conflict_in_the_middle_names_the_events_and_stores_nothing(
    listener: Running, sender: Sender, tenant: Tenant
) -> None:
    post_batch(listener, sender, event("2"))
    answer = post_batch(
        listener, sender, event("1"), event("2", value=9), event("3"), event("1", 9)
    )
    assert (answer.status, answer.code) == (409, "transaction_conflict")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.document["conflicts"] == [
        {"index": 1, "transaction_id": "/h 2"},
        {"index": 3, "transaction_id": "/h 1"},
    ]
    assert [row[0] for row in stored(tenant)] == ["/h 2"]


def test_an_unreadable_event_refuses_its_batch_and_is_named(
    listener: Running, sender: Sender, tenant: Tenant
) -> None:
    answer = post_batch(listener, sender, event("1"), event("2", specversion="2.0"))
    assert (answer.status, answer.code) == (400, "invalid_event")
    assert answer.document["index"] == 1
    for body, status, code in (
        (b"[]", 400, "invalid_batch"),
        (b"{}", 400, "invalid_batch"),
        (b"[{]", 400, "malformed_json"),
        (json.dumps([event("1")] * 1_001).encode(), 413, "batch_too_long"),
    ):
        answer = post(listener, sender, body, BATCH_TYPE)
        assert (answer.status, answer.code) == (status, code)
        assert "index" not in answer.document
    assert stored(tenant) == []


def test_a_thousand_events_are_one_transaction(
    listener: Running, sender: Sender, tenant: Tenant
) -> None:
    events = [event(f"{n:04}") for n in range(1_000)]
    answer = post_batch(listener, sender, *events)
    assert answer.status == 202
    assert len(set(receipts(answer))) == 1_000
    assert len(stored(tenant)) == 1_000
    drain()
    assert len(Inlet(tenant, sender.source).readings("WM-0999")) == 1


def test_racing_batches_are_each_stored_whole_or_not_at_all(
    listener: Running, sender: Sender, tenant: Tenant
) -> None:
    """Over several connections, to two processes, in opposite orders."""
    names = [f"{n:02}" for n in range(40)]

    def send(sender_no: int) -> Answer:
        order = names if sender_no % 2 else names[::-1]
        events = [event(name, value=sender_no if name == "20" else 1) for name in order]
        return post_batch(listener, sender, *events)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))
    codes = sorted(answer.code for answer in answers)
    assert codes == ["accepted"] + ["transaction_conflict"] * 7
    assert len(stored(tenant)) == 40


def test_the_same_event_from_another_tenant_is_another_callback(
    listener: Running, sender: Sender, stranger: NewTenant, tenant: Tenant
) -> None:
    theirs = new_sender(stranger.tenant)
    ours = post_batch(listener, sender, event("1"))
    other = post_batch(listener, theirs, event("1", value=9))
    assert [ours.status, other.status] == [202, 202]
    assert receipts(ours) != receipts(other)
    body = json.dumps([event("2")]).encode()
    headers = {**theirs.hub(body), "Content-Type": BATCH_TYPE}
    answer = listener.ask(sender.path, body, headers)
    assert (answer.status, answer.code) == (401, "signature_invalid")
    assert len(stored(tenant)) == len(stored(stranger.tenant)) == 1
