"""Callbacks that kill their worker, or take longer than Postgres lets them."""

import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from ingest.models import CallbackState
from ingest.processing import batch, trials
from ingest.tests.accepting import Inlet, drain, interval
from tenants.database import pipeline
from tenants.identifiers import new_id

ROOT = Path(__file__).resolve().parents[2]
MIDNIGHT = "2016-01-01T00:00:00+01:00"
#: A worker whose parser ends the process, as a fault in C code would, or never returns.
WORKER = """
import os, re, signal, sys, django
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
django.setup()
from dataclasses import replace
from ingest.formats import native
from ingest.formats.registry import FORMATS
from ingest.processing import batch, trials

trials.LONGEST_S = 0.5

def parse(body, context):
    if b"poison" in body:
        os.kill(os.getpid(), signal.SIGKILL)
    if b"endless" in body:
        re.match("(a+)+b", "a" * 99)
    return native.FORMAT.parse(body, context)

FORMATS[native.FORMAT.content_type] = replace(native.FORMAT, parse=parse)
while batch.process_batch(500).callbacks:
    pass
"""


def entries(callback_id: UUID) -> int:
    with pipeline() as lane:
        row = lane.execute(
            "SELECT count(*) FROM ingest_processingtrial WHERE %s = ANY(callback_ids)",
            [callback_id],
        ).fetchone()
    return int(row[0]) if row else -1


def work() -> int:
    return subprocess.run([sys.executable, "-c", WORKER], cwd=ROOT).returncode


def test_a_callback_that_kills_its_workers_is_set_aside(lane: Inlet) -> None:
    drain()
    first = lane.accept([interval(MIDNIGHT)], device="A")
    poison = lane.accept([interval(MIDNIGHT)], device="poison")
    last = lane.accept([interval(MIDNIGHT)], device="B")
    ends = [work() for _ in range(trials.MOST_LEFT + 2)]
    # Once with the others, then alone, then never again.
    assert ends == [-9] * (trials.MOST_LEFT + 1) + [0]
    assert lane.callback(first).state == CallbackState.PROCESSED
    assert lane.callback(last).state == CallbackState.PROCESSED
    aside = lane.callback(poison)
    assert aside.errors == [
        {"index": None, "code": "processing_failed", "detail": "WorkerLost"}
    ]
    assert aside.state == CallbackState.REJECTED


def test_a_worker_that_is_never_done_ends_itself(lane: Inlet) -> None:
    drain()
    endless = lane.accept([interval(MIDNIGHT)], device="endless")
    assert work() == 1
    assert entries(endless) == 1
    drain()
    assert lane.callback(endless).state == CallbackState.PROCESSED


def test_a_callback_that_is_always_too_slow_is_set_aside(
    lane: Inlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain()
    slow = lane.accept([interval(MIDNIGHT)])

    def too_slow(connection: psycopg.Connection[Any], *_args: Any) -> None:
        connection.execute("SET LOCAL statement_timeout = 20")
        connection.execute("SELECT pg_sleep(5)")

    with monkeypatch.context() as patch:
        patch.setattr(batch, "mark", too_slow)
        for _ in range(trials.MOST_LEFT):
            with pytest.raises(psycopg.errors.QueryCanceled):
                batch.process_batch(500)
        assert batch.process_batch(500).callbacks == 1
    assert lane.callback(slow).state == CallbackState.REJECTED
    # Whoever has it processed again begins anew.
    assert entries(slow) == 0


def test_neither_success_nor_a_passing_fault_leaves_an_entry(
    lane: Inlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    callback_id = lane.accept([interval(MIDNIGHT)])
    seen = []

    def lost(*_args: Any) -> None:
        seen.append(entries(callback_id))
        raise psycopg.OperationalError

    with monkeypatch.context() as patch:
        patch.setattr(batch, "mark", lost)
        for _ in range(trials.MOST_LEFT + 1):
            with pytest.raises(psycopg.OperationalError):
                batch.process_batch(500)
    assert seen == [1] * (trials.MOST_LEFT + 1)
    assert entries(callback_id) == 0
    drain()
    assert lane.callback(callback_id).state == CallbackState.PROCESSED
    assert entries(callback_id) == 0


def test_what_was_left_long_ago_is_forgotten() -> None:
    old, young = new_id(), new_id()
    with pipeline() as lane:
        for callback_id, age in ((old, "25 hours"), (young, "23 hours")):
            lane.execute(
                """INSERT INTO ingest_processingtrial
                VALUES (%s, %s, now() - %s::interval)""",
                [new_id(), [callback_id], age],
            )
    trials.forget_old()
    assert (entries(old), entries(young)) == (0, 1)
