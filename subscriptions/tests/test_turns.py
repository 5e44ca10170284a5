"""A worker's turn: how it ends, what it stays for, and what it does about trouble."""

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from subscriptions.events import Event
from subscriptions.filtering import Subject
from subscriptions.models import LanePlace
from subscriptions.services.delivering import claims, recorder
from subscriptions.services.delivering.openings import look
from subscriptions.services.delivering.pacing import Opening
from subscriptions.services.delivering.recorder import Recorder
from subscriptions.services.delivering.recording import Result, record
from subscriptions.services.delivering.sending import deliver
from subscriptions.services.publishing import publish
from subscriptions.tests.delivering import (
    answering,
    attempts,
    claimed_of,
    deliver_until,
    deliveries,
    make_endpoint,
    outcome,
    publish_to,
    set_endpoint,
)
from subscriptions.tests.receivers import Received, Reply, receiving
from tenants.database import Cursor, acting_for, pipeline
from tenants.models import Tenant

URL = "https://subscriber.example/hook"


def test_worker_that_is_to_end_claims_no_more_and_records_what_flew(
    tenant: Tenant,
) -> None:
    def answer_slowly(_: Received) -> Reply:
        time.sleep(0.2)
        return Reply()

    with receiving(answer_slowly) as receiver:
        make_endpoint(tenant, receiver.url)
        publish_to(tenant, 100)
        is_left = deliver(is_stopping=lambda: len(receiver.requests) > 0)
        sent = len(receiver.requests)
    found = deliveries(tenant)
    assert is_left
    assert 0 < sent < 100
    assert sum(one.status == "delivered" for one in found) == sent
    assert sum(one.attempt_count for one in found) == sent == len(attempts(tenant))


def test_what_was_claimed_ahead_of_a_receiver_that_throttles_is_given_back(
    tenant: Tenant,
) -> None:
    def take_forty(received: Received) -> Reply:
        is_enough = len(receiver.requests) > 40
        return Reply(429, b"", {"Retry-After": "600"}) if is_enough else Reply()

    with receiving(take_forty) as receiver:
        make_endpoint(tenant, receiver.url)
        publish_to(tenant, 200)
        deliver()
        sent = len(receiver.requests)
    found = deliveries(tenant)
    assert 40 < sent < 100
    assert sum(one.attempt_count for one in found) == sent == len(attempts(tenant))
    assert sum(one.schedule_step for one in found) == sent
    assert {one.leased_until for one in found} == {None}


def test_what_comes_while_a_worker_lingers_needs_no_bell(tenant: Tenant) -> None:
    with receiving() as receiver:
        make_endpoint(tenant, receiver.url)
        publish_to(tenant)
        worker = threading.Thread(target=deliver, kwargs={"linger_s": 3.0})
        worker.start()
        for count in range(1, 4):
            receiver.wait_for(count)
            started = time.monotonic()
            publish_to(tenant)
            receiver.wait_for(count + 1)
            assert time.monotonic() - started < 2
        worker.join(10)
    assert not worker.is_alive()


def test_worker_with_nothing_to_do_ends_at_once(tenant: Tenant) -> None:
    make_endpoint(tenant, URL)
    started = time.monotonic()
    assert deliver(linger_s=5.0) is False
    assert time.monotonic() - started < 1.0


def test_batch_that_is_not_full_keeps_the_worker_until_it_is_due(
    tenant: Tenant,
) -> None:
    with receiving() as receiver:
        make_endpoint(tenant, receiver.url, batch_size=5, batch_wait_s=1)
        publish_to(tenant, 3)
        assert deliver(turn_s=0.1) is True
        assert receiver.requests == []
        assert deliver() is False
    assert len(receiver.requests) == 1


def test_result_that_cannot_be_written_is_given_up_alone(
    tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    make_endpoint(tenant, URL)
    publish_to(tenant, 3)
    results = [Result(one, outcome(204)) for one in claimed_of(tenant)]
    bad = Result(results[1].claimed, outcome(204, head="\0"))
    with Recorder() as recorder:
        recorder.add([results[0], bad, results[2]])
        while not recorder.is_empty:
            recorder.move_on(is_last=True)
            time.sleep(0.001)
    waiting = [one.pk for one in deliveries(tenant) if one.status == "pending"]
    assert waiting == [bad.claimed.delivery_id]
    assert "cannot be written" in caplog.text


def test_results_wait_for_a_database_that_takes_no_writes_yet(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    def refuse_at_first(results: Sequence[Result]) -> None:
        nonlocal tries
        tries += 1
        if tries <= 3:
            raise psycopg.errors.ReadOnlySqlTransaction("It is a standby.")
        record(results)

    monkeypatch.setattr(recorder, "record", refuse_at_first)
    with receiving() as receiver:
        make_endpoint(tenant, receiver.url)
        publish_to(tenant, 3)
        deliver()
    assert {one.status for one in deliveries(tenant)} == {"delivered"}
    assert len(receiver.requests) == 3


def test_fault_in_the_claiming_thread_surfaces_after_what_flew_is_recorded(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def break_at_the_second(cursor: Cursor) -> list[Opening]:
        nonlocal looks
        looks += 1
        if looks > 1:
            raise LookupError("A mistake.")
        return look(cursor)

    monkeypatch.setattr(claims, "look", break_at_the_second)
    with receiving() as receiver:
        make_endpoint(tenant, receiver.url)
        publish_to(tenant, 3)
        with pytest.raises(LookupError, match="A mistake"):
            deliver()
    assert {one.status for one in deliveries(tenant)} == {"delivered"}


def test_database_that_is_away_is_told_when_nothing_flies(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def be_away(_: Cursor) -> list[Opening]:
        raise psycopg.OperationalError("The database is away.")

    monkeypatch.setattr(claims, "look", be_away)
    with pytest.raises(psycopg.OperationalError, match="is away"):
        deliver()
    assert attempts(tenant) == []


def test_ordered_endpoint_gets_the_next_of_a_device_when_the_one_before_ended(
    tenant: Tenant, settings: Any
) -> None:
    settings.RETRY_SCHEDULE_S = [0.05]
    with receiving(answering(Reply(500), Reply(500), Reply())) as receiver:
        make_endpoint(tenant, receiver.url, is_ordered=True)
        tell_of_device(tenant, count=3)
        first, second, third = deliveries(tenant)
        deliver_until(tenant, "delivered", "dead")
        order = [one.headers["webhook-id"] for one in receiver.requests]
    ids = [f"msg_{one.message_id.hex}" for one in (first, second, third)]
    assert order == [ids[0], ids[0], ids[1], ids[2]]
    ended = [one.status for one in deliveries(tenant)]
    assert ended == ["dead", "delivered", "delivered"]
    with acting_for(tenant):
        assert not LanePlace.objects.filter(tenant=tenant).exists()


def tell_of_device(tenant: Tenant, count: int) -> None:
    subject = Subject(device="WM-1", channel="main", commodity="water")
    for number in range(count):
        event = Event(
            tenant.pk,
            tenant.slug,
            "callback.processed",
            {"number": number},
            datetime.now(tz=UTC),
            subjects=lambda: (subject,),
        )
        with pipeline() as lane, lane.cursor() as cursor:
            publish(cursor, [event])


def test_receiver_that_does_not_know_the_token_has_it_renewed(tenant: Tenant) -> None:
    past = datetime(2026, 1, 1, tzinfo=UTC)
    endpoint, _ = make_endpoint(tenant, URL)
    publish_to(tenant, 1)
    (claimed,) = claimed_of(tenant)
    set_endpoint(endpoint, oauth2_token_url=URL, oauth2_asked_at=past)
    shown = "a token that was revoked"
    with_token = claimed._replace(destination=replace(claimed.destination, token=shown))
    with Recorder() as recorder:
        recorder.add([Result(with_token, outcome(401))])
        while not recorder.is_empty:
            recorder.move_on(is_last=True)
            time.sleep(0.001)
    assert set_endpoint(endpoint).oauth2_due_at is not None
