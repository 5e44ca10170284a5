"""Large callbacks: chunk by chunk, whatever stops a worker between two of them."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection

from ingest.models import CallbackState, PendingCallback, ProcessingProgress
from ingest.processing import batch, chunks, claims
from ingest.processing.parsing import parse_body
from ingest.processing.readings import Offers
from ingest.processing.trials import MOST_LEFT
from ingest.services.callbacks import reprocess
from ingest.tests.accepting import Inlet, drain, inlet, interval
from ingest.tests.test_processing import counts, messages, rejection, revisions
from subscriptions.services.endpoints import create_endpoint
from tenants.actors import Actor
from tenants.database import acting_for, pipeline
from tenants.identifiers import new_id
from tenants.models import Tenant

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2016, 1, 1, tzinfo=UTC)
#: A worker that does one chunk after the other, and says so.
WORKER = """
import os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
django.setup()
from ingest.processing import batch, chunks
chunks.CHUNK = 200
while True:
    if batch.process_batch(500).callbacks:
        print("chunk", flush=True)
"""


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make what is large small enough for a quick test."""
    monkeypatch.setattr(chunks, "CHUNK", 10)
    monkeypatch.setattr(claims, "LARGE_BYTES", 1_000)
    drain()


def hours(
    count: int, value: Callable[[int], object] = lambda n: n
) -> list[dict[str, Any]]:
    return [
        interval((START + timedelta(hours=n)).isoformat(), str(value(n)))
        for n in range(count)
    ]


def progress(tenant: Tenant) -> ProcessingProgress | None:
    with acting_for(tenant):
        return ProcessingProgress.objects.filter(tenant=tenant).first()


def done(tenant: Tenant) -> int:
    found = progress(tenant)
    return found.done if found else 0


def subscribe(tenant: Tenant, actor: Actor) -> None:
    with acting_for(tenant):
        create_endpoint(
            tenant=tenant, actor=actor, url="https://127.0.0.1/", event_types=["*"]
        )


def test_its_outcome_comes_with_the_last_chunk(
    tenant: Tenant, actor: Actor, lane: Inlet
) -> None:
    subscribe(tenant, actor)
    callback_id = lane.accept(hours(35))
    for chunk in (10, 20, 30):
        assert batch.process_batch(500).callbacks == 1
        assert done(tenant) == len(lane.readings()) == chunk
        assert lane.callback(callback_id).state == CallbackState.ACCEPTED
        # What is committed is told; the outcome is not.
        assert [one["type"] for one in messages(tenant)] == ["device.registered"]
    assert batch.process_batch(500).callbacks == 1
    assert batch.process_batch(500).callbacks == 0
    callback = lane.callback(callback_id)
    assert callback.state == CallbackState.PROCESSED
    assert counts(callback) == (35, 0, 0, 0)
    assert progress(tenant) is None
    (told,) = [one for one in messages(tenant) if one["type"] == "callback.processed"]
    assert told["data"]["readings"]["stored"] == 35
    with acting_for(tenant):
        assert not PendingCallback.objects.filter(tenant=tenant).exists()


def test_small_ones_behind_large_ones_come_with_the_first_batch(lane: Inlet) -> None:
    large = [lane.accept(hours(95)) for _ in range(3)]
    small = [lane.accept(hours(2), device=f"S{n}") for n in range(5)]
    # More of both than are picked at once.
    batch.process_batch(2)
    batch.process_batch(10)
    assert {lane.callback(one).state for one in small} == {CallbackState.PROCESSED}
    assert {lane.callback(one).state for one in large} == {CallbackState.ACCEPTED}
    drain()
    assert [counts(lane.callback(one)) for one in large] == [
        (95, 0, 0, 0),
        (0, 95, 0, 0),
        (0, 95, 0, 0),
    ]


def test_a_body_is_parsed_once_for_all_its_chunks(
    lane: Inlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        parsed.append(args)
        return parse_body(*args, **kwargs)

    monkeypatch.setattr(batch, "parse_body", counted)
    callback = lane.settle(hours(95))
    assert counts(callback) == (95, 0, 0, 0)
    assert len(parsed) == 1
    assert not batch._kept.ids


def test_repeats_in_different_chunks_apply_in_their_order(
    tenant: Tenant, lane: Inlet
) -> None:
    # Each value three times, in the chunks 1, 2 and 3; the first of them twice.
    readings = hours(10) + hours(10) + hours(10, lambda n: n + 100)
    callback = lane.settle(readings)
    assert counts(callback) == (10, 10, 10, 0)
    assert [one.value for one in lane.readings()] == [n + 100 for n in range(10)]
    assert [one.value for one in revisions(tenant)] == [Decimal(n) for n in range(10)]


def test_a_newer_callback_between_two_chunks_stays_in_force(
    tenant: Tenant, lane: Inlet
) -> None:
    large = lane.accept(hours(20))
    newer = lane.accept(hours(20, lambda n: n + 100)[15:18])
    batch.process_batch(500)
    drain()
    assert counts(lane.callback(newer)) == (3, 0, 0, 0)
    # Its value came first, and the older one's goes to the history alone.
    assert counts(lane.callback(large)) == (17, 3, 0, 0)
    assert [one.value for one in lane.readings()][14:19] == [14, 115, 116, 117, 18]
    assert [one.value for one in revisions(tenant)] == [15, 16, 17]


def test_corrections_of_all_chunks_are_one_message_with_the_first_hundred(
    tenant: Tenant, actor: Actor, lane: Inlet
) -> None:
    lane.settle(hours(155))
    subscribe(tenant, actor)
    callback = lane.settle(hours(155, lambda n: n + 1))
    assert counts(callback) == (0, 0, 155, 0)
    (told,) = [one for one in messages(tenant) if one["type"] == "reading.corrected"]
    assert told["data"]["count"] == 155
    assert [one["old_value"] for one in told["data"]["corrections"]] == [
        str(n) for n in range(100)
    ]


def test_errors_of_the_body_and_of_every_chunk_are_counted(
    tenant: Tenant, lane: Inlet
) -> None:
    readings = hours(60)
    readings[3]["value"] = "x"
    for index in (0, 25, 59):
        readings[index]["unit"] = "furlong"
    lane.settle([interval("2015-01-01T00:00:00Z")])
    callback = lane.settle(readings)
    assert callback.state == CallbackState.PARTLY_REJECTED
    assert counts(callback) == (56, 0, 0, 4)
    assert callback.errors is not None
    assert [(one["index"], one["code"]) for one in callback.errors] == [
        (0, "unit_mismatch"),
        (3, "value_invalid"),
        (25, "unit_mismatch"),
        (59, "unit_mismatch"),
    ]


def test_a_receipt_lists_a_hundred_errors_over_all_chunks(tenant: Tenant) -> None:
    callback = inlet(tenant, is_open=False).settle(hours(250))
    assert callback.state == CallbackState.REJECTED
    assert counts(callback) == (0, 0, 0, 250)
    assert callback.errors is not None
    assert [one["index"] for one in callback.errors] == list(range(100))


def test_a_body_that_is_no_json_is_rejected_whole(lane: Inlet) -> None:
    callback = lane.settle(b"[" * 5_000)
    assert counts(callback) == (0, 0, 0, 1)
    assert callback.errors is not None
    assert callback.errors[0]["code"] == "malformed_json"


def test_readings_of_another_device_than_the_signing_one_are_refused(
    tenant: Tenant, lane: Inlet
) -> None:
    for count in (4, 40):
        readings = hours(count)
        readings[2]["device"] = "WM-2"
        callback = lane.settle(readings, signed_by="WM-1")
        assert callback.rejected == 1
        assert callback.errors is not None
        assert [(one["index"], one["code"]) for one in callback.errors] == [
            (2, "device_not_signed")
        ]
    assert not lane.readings("WM-2")


def test_a_chunk_that_fails_sets_the_rest_aside(
    tenant: Tenant,
    actor: Actor,
    lane: Inlet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    insert = Offers.insert

    def broken(self: Offers, session: psycopg.Connection[Any]) -> Any:
        if any(offer.value == 27 for offer in self.rows):
            raise ArithmeticError
        return insert(self, session)

    with monkeypatch.context() as patch:
        patch.setattr(Offers, "insert", broken)
        large = lane.accept(hours(95))
        small = lane.accept(hours(3), device="S")
        drain()
    aside = lane.callback(large)
    assert aside.state == CallbackState.PARTLY_REJECTED
    assert counts(aside) == (20, 0, 0, 1)
    assert aside.errors == [
        {"index": None, "code": "processing_failed", "detail": "ArithmeticError"}
    ]
    assert rejection(tenant).code == "processing_failed"
    assert lane.callback(small).state == CallbackState.PROCESSED
    assert progress(tenant) is None
    # Once the fault is mended, all of it is done anew.
    with acting_for(tenant):
        reprocess(tenant=tenant, actor=actor, callback_ids=[large])
    drain()
    assert counts(lane.callback(large)) == (75, 20, 0, 0)


def test_a_fault_that_passes_leaves_the_chunks_before_it(
    tenant: Tenant, lane: Inlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    callback_id = lane.accept(hours(30))
    batch.process_batch(500)

    def lost(*_args: Any) -> None:
        raise psycopg.OperationalError

    with monkeypatch.context() as patch:
        patch.setattr(batch, "settle", lost)
        for _ in range(5):
            with pytest.raises(psycopg.OperationalError):
                batch.process_batch(500)
    assert done(tenant) == 10
    drain()
    assert counts(lane.callback(callback_id)) == (30, 0, 0, 0)


def test_every_statement_that_fails_ends_in_a_clean_retry(
    tenant: Tenant, lane: Inlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = psycopg.Connection.execute
    left = [0]

    def failing(self: Any, *args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise psycopg.OperationalError
        return execute(self, *args, **kwargs)

    monkeypatch.setattr(psycopg.Connection, "execute", failing)
    for number in range(1, 100):
        device = f"N{number}"
        callback_id = lane.accept(hours(12), device=device)
        left[0] = number
        try:
            for _ in range(3):
                batch.process_batch(500)
            is_through = left[0] > 0
        except psycopg.OperationalError:
            is_through = False
        left[0] = 0
        drain()
        assert counts(lane.callback(callback_id)) == (12, 0, 0, 0), number
        assert len(lane.readings(device)) == 12
        if is_through:
            break
    else:
        raise AssertionError
    assert number > 20


def test_two_workers_share_a_large_callback_without_doing_it_twice(lane: Inlet) -> None:
    ids = [lane.accept(hours(195), device=f"L{n}") for n in range(2)]
    start = threading.Barrier(2)

    def work() -> int:
        start.wait(10)
        chunks_done = 0
        with contextlib.closing(connection):
            while any(
                lane.callback(one).state == CallbackState.ACCEPTED for one in ids
            ):
                chunks_done += batch.process_batch(500).callbacks
        return chunks_done

    with ThreadPoolExecutor(2) as pool:
        workers = [pool.submit(work) for _ in range(2)]
    assert sum(worker.result() for worker in workers) == 2 * 20
    assert all(worker.result() for worker in workers)
    for number, one in enumerate(ids):
        assert counts(lane.callback(one)) == (195, 0, 0, 0)
        assert len(lane.readings(f"L{number}")) == 195


def test_a_worker_killed_in_the_middle_is_followed_by_another(
    tenant: Tenant, lane: Inlet
) -> None:
    callback_id = lane.accept(hours(6_000))
    for _ in range(3):
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert worker.stdout is not None
        for _ in range(4):
            assert worker.stdout.readline() == b"chunk\n"
        os.kill(worker.pid, signal.SIGKILL)
        assert worker.wait() == -signal.SIGKILL
        worker.stdout.close()
    assert 0 < done(tenant) < 6_000
    chunks.CHUNK = 5_000
    deadline = time.monotonic() + 10
    while lane.callback(callback_id).state == CallbackState.ACCEPTED:
        # Postgres may not have noticed yet that the last worker is gone.
        assert time.monotonic() < deadline
        drain()
    assert counts(lane.callback(callback_id)) == (6_000, 0, 0, 0)
    assert [one.value for one in lane.readings()] == list(range(6_000))


def test_one_that_kills_its_workers_keeps_what_they_stored(
    tenant: Tenant, lane: Inlet
) -> None:
    callback_id = lane.accept(hours(35))
    batch.process_batch(500)
    with pipeline() as session:
        for _ in range(MOST_LEFT):
            session.execute(
                "INSERT INTO ingest_processingtrial VALUES (%s, %s)",
                [new_id(), [callback_id]],
            )
    drain()
    aside = lane.callback(callback_id)
    assert counts(aside) == (10, 0, 0, 1)
    assert aside.errors is not None
    assert aside.errors[0]["detail"] == "WorkerLost"
    assert rejection(tenant).code == "processing_failed"
