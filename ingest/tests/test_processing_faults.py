"""What processing does under faults, under rivals, and at partitions' edges."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from ingest.formats import native
from ingest.formats.interface import Context
from ingest.formats.parsed import Parsed
from ingest.formats.registry import FORMATS
from ingest.models import (
    CallbackRejection,
    CallbackState,
    Device,
    PendingCallback,
)
from ingest.processing import batch
from ingest.processing.claims import claim_again as real_claim_again
from ingest.processing.settling import settle as real_settle
from ingest.processing.work import Claim
from ingest.tests.accepting import Inlet, drain, interval
from tenants.database import acting_for, pipeline
from tenants.identifiers import new_id
from tenants.models import Tenant

MIDNIGHT = "2016-01-01T00:00:00+01:00"
ONE_O_CLOCK = "2016-01-01T01:00:00+01:00"


def counts(callback: Any) -> tuple[int, int, int, int]:
    return (
        callback.stored,
        callback.unchanged,
        callback.corrected,
        callback.rejected,
    )


def rejection(tenant: Tenant) -> CallbackRejection:
    with acting_for(tenant):
        return CallbackRejection.objects.get(tenant=tenant)


def test_a_poison_callback_is_set_aside_and_holds_nobody_up(
    tenant: Tenant, lane: Inlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(body: bytes, context: Context) -> Parsed:
        if b"poison" in body:
            raise ArithmeticError("secret 4711")
        return native.FORMAT.parse(body, context)

    poisoned = replace(native.FORMAT, parse=parse)
    monkeypatch.setitem(FORMATS, poisoned.content_type, poisoned)
    first = lane.accept([interval(MIDNIGHT)])
    poison = lane.accept([interval(MIDNIGHT)], device="poison")
    last = lane.accept([interval(ONE_O_CLOCK)])
    drain()
    assert lane.callback(first).state == CallbackState.PROCESSED
    assert lane.callback(last).state == CallbackState.PROCESSED
    aside = lane.callback(poison)
    assert aside.state == CallbackState.REJECTED
    assert aside.errors == [
        {"index": None, "code": "processing_failed", "detail": "ArithmeticError"}
    ]
    assert rejection(tenant).code == "processing_failed"
    assert len(lane.readings()) == 2


def test_callbacks_that_are_done_one_by_one_share_no_transaction(
    lane: Inlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain()
    published: dict[str, int] = {}

    def settle(connection: psycopg.Connection[Any], outcomes: Any, *rest: Any) -> int:
        row = connection.execute("SELECT pg_current_xact_id()::text").fetchone()
        assert row is not None
        published[row[0]] = published.get(row[0], 0) + 1
        if len(outcomes) > 1:
            raise ArithmeticError
        return real_settle(connection, outcomes, *rest)

    ids = [lane.accept([interval(MIDNIGHT)], device=name) for name in "CAB"]
    monkeypatch.setattr(batch, "settle", settle)
    assert batch.process_batch(500).callbacks == len(ids)
    assert list(published.values()) == [1, 1, 1, 1]
    assert {lane.callback(one).state for one in ids} == {CallbackState.PROCESSED}


def test_a_callback_that_another_worker_took_meanwhile_is_left_to_it(
    lane: Inlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain()
    ids = [lane.accept([interval(MIDNIGHT)], device=name) for name in "AB"]
    with pipeline() as rival:

        def settle(_: Any, outcomes: Any, *rest: Any) -> int:
            monkeypatch.setattr(batch, "claim_again", claim_again)
            monkeypatch.setattr(batch, "settle", real_settle)
            raise ArithmeticError

        def claim_again(connection: psycopg.Connection[Any], one: Claim) -> list[Claim]:
            rival.execute(
                """SELECT FROM ingest_pendingcallback WHERE callback_id = %s
                FOR UPDATE NOWAIT""",
                [ids[0]],
            )
            return real_claim_again(connection, one)

        monkeypatch.setattr(batch, "settle", settle)
        assert batch.process_batch(500).callbacks == 1
    states = [lane.callback(one).state for one in ids]
    assert states == [CallbackState.ACCEPTED, CallbackState.PROCESSED]
    drain()


def test_a_passing_fault_leaves_the_batch_for_later(
    tenant: Tenant, lane: Inlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlucky(connection: psycopg.Connection[Any], *_args: Any) -> int:
        connection.execute(
            "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'deadlock_detected'; END $$"
        )
        raise AssertionError

    callback_id = lane.accept([interval(MIDNIGHT)])
    with monkeypatch.context() as patch:
        patch.setattr(batch, "settle", unlucky)
        with pytest.raises(psycopg.errors.DeadlockDetected):
            batch.process_batch(500)
    with acting_for(tenant):
        assert PendingCallback.objects.filter(tenant=tenant).count() == 1
        assert not Device.objects.filter(tenant=tenant).exists()
    # What the undone batch had learned was forgotten with it.
    drain()
    assert lane.callback(callback_id).state == CallbackState.PROCESSED
    assert len(lane.readings()) == 1


def test_two_workers_never_process_a_callback_twice(
    tenant: Tenant, lane: Inlet
) -> None:
    drain()
    ids = [
        lane.accept(
            [interval(f"2016-01-01T{hour:02}:00:00Z", str(number))],
            device=f"D-{number % 7}",
        )
        for number in range(40)
        for hour in (0, 1)
    ]
    start = threading.Barrier(2)

    def work() -> int:
        start.wait(10)
        settled = 0
        while done := batch.process_batch(3).callbacks:
            settled += done
        return settled

    with ThreadPoolExecutor(2) as pool:
        workers = [pool.submit(work) for _ in range(2)]
    assert sum(worker.result() for worker in workers) == len(ids)
    assert all(worker.result() for worker in workers)
    drain()
    rows = [lane.callback(one) for one in ids]
    assert all(row.state == CallbackState.PROCESSED for row in rows)
    assert sum(row.stored for row in rows) == 7 * 2
    assert sum(sum(counts(row)) for row in rows) == len(ids)


def test_readings_fall_into_month_partitions_that_appear_by_themselves(
    lane: Inlet,
) -> None:
    callback = lane.settle(
        [
            interval("2003-02-28T23:59:59.999999Z", "1", duration_s=1),
            interval("2003-03-01T00:00:00+01:00", "2", duration_s=1),
            interval("2003-12-31T23:30:00-01:00", "3", duration_s=1),
        ]
    )
    assert counts(callback) == (3, 0, 0, 0)
    with pipeline() as connection:
        found = connection.execute(
            """SELECT tableoid::regclass::text, value FROM ingest_reading
            WHERE callback_id = %s ORDER BY value""",
            [callback.id],
        ).fetchall()
    assert [row[0] for row in found] == [
        "ingest_reading_200302",
        "ingest_reading_200302",
        "ingest_reading_200401",
    ]


def test_a_body_past_its_retention_is_rejected_not_forgotten(lane: Inlet) -> None:
    callback_id = lane.accept([interval(MIDNIGHT)])
    with pipeline() as connection:
        # As if the day's bodies were gone: the queue points to another time.
        connection.execute(
            """UPDATE ingest_pendingcallback
            SET received_at = received_at - interval '200 days'
            WHERE callback_id = %s""",
            [callback_id],
        )
    drain()
    callback = lane.callback(callback_id)
    assert callback.errors is not None
    assert callback.errors[0]["code"] == "body_gone"


def test_a_database_that_stalls_rejects_nobody(
    tenant: Tenant, lane: Inlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stalled(connection: psycopg.Connection[Any], *_args: Any) -> None:
        connection.execute("SET LOCAL statement_timeout = 20")
        connection.execute("SELECT pg_sleep(5)")
        raise AssertionError

    ids = [lane.accept([interval(at)]) for at in (MIDNIGHT, ONE_O_CLOCK)]
    with monkeypatch.context() as patch:
        patch.setattr(batch, "mark", stalled)
        with pytest.raises(psycopg.errors.QueryCanceled):
            batch.process_batch(500)
    drain()
    assert [lane.callback(one).state for one in ids] == [CallbackState.PROCESSED] * 2


def test_a_queue_row_without_a_ledger_row_goes(
    tenant: Tenant, lane: Inlet, caplog: pytest.LogCaptureFixture
) -> None:
    drain()
    lost = new_id()
    with pipeline() as connection:
        connection.execute(
            "INSERT INTO ingest_pendingcallback VALUES (%s, %s, %s, now())",
            [lost, tenant.pk, lane.source.pk],
        )
    callback_id = lane.accept([interval(MIDNIGHT)])
    # The first pick finds the lost one alone, and goes on.
    assert batch.process_batch(1).callbacks == 1
    assert lane.callback(callback_id).state == CallbackState.PROCESSED
    with acting_for(tenant):
        assert not PendingCallback.objects.filter(tenant=tenant).exists()
    assert str(lost) in caplog.text


def test_a_worker_that_stands_still_holds_up_only_who_needs_what_it_holds(
    tenant: Tenant, lane: Inlet
) -> None:
    with pipeline() as frozen:
        frozen.execute(
            """INSERT INTO ingest_device (tenant_id, name, status)
            VALUES (%s, 'new', 'active')""",
            [tenant.pk],
        )
        waits = lane.accept([interval(MIDNIGHT)], device="new")
        goes_on = lane.accept([interval(MIDNIGHT)], device="other")
        batch.process_batch(500)
        assert lane.callback(waits).state == CallbackState.ACCEPTED
        assert lane.callback(goes_on).state == CallbackState.PROCESSED
        frozen.rollback()
    drain()
    assert lane.callback(waits).state == CallbackState.PROCESSED
