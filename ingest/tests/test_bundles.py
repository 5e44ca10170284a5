"""Batches in the ledger: all of one or nothing, whatever happens meanwhile."""

import asyncio
from time import monotonic
from typing import Any

import pytest
from django.test import override_settings

from ingest.listener.entries import Bundle, Entry, Outcome, Verdict
from ingest.listener.lanes import Lane
from ingest.listener.ledger import Ledger
from ingest.tests.test_ledger import (
    entry,
    locked_ledger,
    record,
    rows,
    run,
    started,
)
from tenants.database import pipeline
from tenants.models import Tenant


def bundle(entries: list[Entry]) -> Bundle:
    return Bundle(entries, entries[0].deadline_at)


def verdicts(outcomes: list[Outcome]) -> list[str]:
    return [outcome.verdict.name for outcome in outcomes]


def waiting_rows(tenant: Tenant) -> int:
    """Return how many of the tenant's callbacks any table of the ledger has."""
    with pipeline() as lane:
        row = lane.execute(
            """SELECT (SELECT count(*) FROM ingest_callback WHERE tenant_id = %(t)s)
            + (SELECT count(*) FROM ingest_callbackbody WHERE tenant_id = %(t)s)
            + (SELECT count(*) FROM ingest_pendingcallback WHERE tenant_id = %(t)s)""",
            {"t": tenant.pk},
        ).fetchone()
    return int(row[0]) if row else -1


def test_a_bundle_is_stored_in_one_transaction_and_answered_in_its_order(
    tenant: Tenant,
) -> None:
    async def test(ledger: Ledger) -> None:
        entries = [entry(tenant, text) for text in ("c", "a", "b")]
        assert await ledger.record_all(bundle(entries)) == [
            Outcome(Verdict.ACCEPTED, one.receipt) for one in entries
        ]
        again = [entry(tenant, text) for text in ("b", "new", "a", "c")]
        assert await ledger.record_all(bundle(again)) == [
            Outcome(Verdict.DUPLICATE, entries[2].receipt),
            Outcome(Verdict.ACCEPTED, again[1].receipt),
            Outcome(Verdict.DUPLICATE, entries[1].receipt),
            Outcome(Verdict.DUPLICATE, entries[0].receipt),
        ]
        assert ledger.depth == 0

    run(test)
    found = rows(tenant, "c.transaction_id, c.received_at")
    assert [row[0] for row in found] == ["a", "b", "c", "new"]
    assert len({at for _, at in found}) == 2


def test_a_conflict_in_the_middle_stores_nothing_of_the_bundle(tenant: Tenant) -> None:
    async def test(ledger: Ledger) -> None:
        first = await ledger.record(entry(tenant, "taken"))
        entries = [
            entry(tenant, "a"),
            entry(tenant, "taken"),
            entry(tenant, "taken", b"2"),
            entry(tenant, "z"),
        ]
        assert await ledger.record_all(bundle(entries)) == [
            Outcome(Verdict.ACCEPTED),
            Outcome(Verdict.DUPLICATE),
            Outcome(Verdict.CONFLICT),
            Outcome(Verdict.ACCEPTED),
        ]
        # The lane is good for the next ones.
        assert (await ledger.record(entry(tenant, "a"))).verdict is Verdict.ACCEPTED
        assert first.receipt is not None

    run(test)
    assert rows(tenant, "c.transaction_id") == [("a",), ("taken",)]


def test_one_id_twice_in_a_bundle_is_a_duplicate_or_a_conflict(tenant: Tenant) -> None:
    async def test(ledger: Ledger) -> None:
        same = [entry(tenant, "x"), entry(tenant, "y"), entry(tenant, "x")]
        outcomes = await ledger.record_all(bundle(same))
        assert verdicts(outcomes) == ["ACCEPTED", "ACCEPTED", "DUPLICATE"]
        assert outcomes[2].receipt == outcomes[0].receipt == same[0].receipt
        other = [entry(tenant, "p"), entry(tenant, "q"), entry(tenant, "p", b"2")]
        assert verdicts(await ledger.record_all(bundle(other))) == [
            "ACCEPTED",
            "ACCEPTED",
            "CONFLICT",
        ]

    run(test)
    assert rows(tenant, "c.transaction_id") == [("x",), ("y",)]
    assert waiting_rows(tenant) == 6


def test_racing_bundles_in_opposite_order_never_deadlock_nor_store_a_part(
    tenant: Tenant,
) -> None:
    ids = [f"{n:03}" for n in range(120)]

    async def test(first: Ledger) -> None:
        async with started() as second:
            for turn in range(5):
                here = [entry(tenant, f"{turn}/{text}") for text in ids]
                there = [
                    # The last one's bytes differ: one of the two must lose whole.
                    entry(tenant, f"{turn}/{text}", b"2" if text == "000" else b"d")
                    for text in reversed(ids)
                ]
                one, two = await asyncio.gather(
                    first.record_all(bundle(here)), second.record_all(bundle(there))
                )
                won, lost = (one, two) if "CONFLICT" in verdicts(two) else (two, one)
                assert verdicts(won) == ["ACCEPTED"] * len(ids)
                assert verdicts(lost).count("CONFLICT") == 1
                assert all(outcome.receipt is None for outcome in lost)

    run(test)
    assert len(rows(tenant, "1")) == 5 * len(ids)
    assert len({at for (at,) in rows(tenant, "c.received_at")}) == 5


def test_bundles_and_single_callbacks_take_turns(tenant: Tenant) -> None:
    async def test(ledger: Ledger) -> None:
        bundles = [
            bundle([entry(tenant, f"{n}/{m}") for m in range(20)]) for n in range(5)
        ]
        singles = [entry(tenant, f"single {n}") for n in range(50)]
        alone, *together = await asyncio.gather(
            record(ledger, singles), *(ledger.record_all(one) for one in bundles)
        )
        for outcomes in (alone, *together):
            assert set(verdicts(outcomes)) == {"ACCEPTED"}

    run(test)
    assert len(rows(tenant, "1")) == 150


def test_a_connection_lost_under_a_bundle_is_replaced_and_the_bundle_done_once(
    tenant: Tenant,
) -> None:
    async def test(ledger: Ledger) -> None:
        await ledger.record(entry(tenant, "first"))
        connection = ledger._lane.connection
        assert connection is not None
        entries = [entry(tenant, str(n)) for n in range(5)]
        async with locked_ledger() as owner:
            waiting = asyncio.create_task(ledger.record_all(bundle(entries)))
            await asyncio.sleep(0.1)
            await owner.execute(
                "SELECT pg_terminate_backend(%s, 5000)", [connection.info.backend_pid]
            )
        assert await waiting == [
            Outcome(Verdict.ACCEPTED, one.receipt) for one in entries
        ]
        assert ledger.depth == 0

    run(test)
    assert len(rows(tenant, "1")) == 6


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_connection_lost_at_the_commit_is_asked_again_what_became_of_it(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    cuts = [True]
    execute = Lane.execute

    async def cut(lane: Lane, statement: str, *args: Any) -> Any:
        if statement == "COMMIT" and cuts:
            cuts.clear()
            if is_committed:
                await execute(lane, statement)
            await lane.close()
        return await execute(lane, statement, *args)

    async def test(ledger: Ledger) -> None:
        await ledger.record(entry(tenant, "y"))
        monkeypatch.setattr(Lane, "execute", cut)
        entries = [entry(tenant, text) for text in ("x", "y", "x", "z")]
        outcomes = await ledger.record_all(bundle(entries))
        assert not cuts
        assert verdicts(outcomes) == ["ACCEPTED", "DUPLICATE", "DUPLICATE", "ACCEPTED"]
        assert outcomes[0].receipt == outcomes[2].receipt == entries[0].receipt

    run(test)
    assert rows(tenant, "c.transaction_id") == [("x",), ("y",), ("z",)]


def test_a_bundle_committed_before_its_connection_was_lost_keeps_its_receipts(
    tenant: Tenant,
) -> None:
    async def test(ledger: Ledger) -> None:
        sent = bundle([entry(tenant, "x"), entry(tenant, "x"), entry(tenant, "y")])
        first = await ledger.record_all(sent)
        again = Bundle(sent.entries, sent.deadline_at, is_retry=True)
        assert await ledger.record_all(again) == first

    run(test)
    assert len(rows(tenant, "1")) == 2


@override_settings(LISTENER_DEADLINE_S=1)
def test_a_bundle_is_answered_by_its_deadline_and_half_of_it_is_never_stored(
    tenant: Tenant,
) -> None:
    async def test(ledger: Ledger) -> None:
        await ledger.record(entry(tenant, "first"))
        began_at = monotonic()
        async with locked_ledger():
            entries = [entry(tenant, str(n)) for n in range(9)]
            outcomes = await ledger.record_all(bundle(entries))
        assert set(verdicts(outcomes)) == {"UNAVAILABLE"}
        assert monotonic() - began_at < 1.5
        again = bundle([entry(tenant, str(n)) for n in range(9)])
        kinds = set(verdicts(await ledger.record_all(again)))
        assert kinds in ({"ACCEPTED"}, {"DUPLICATE"})

    run(test)
    assert len(rows(tenant, "1")) == 10


@override_settings(LISTENER_QUEUE_LENGTH=8)
def test_a_bundle_takes_a_place_in_the_queue_for_each_callback(tenant: Tenant) -> None:
    async def test(ledger: Ledger) -> None:
        await ledger.record(entry(tenant, "first"))
        async with locked_ledger():
            waiting = asyncio.create_task(
                ledger.record_all(bundle([entry(tenant, str(n)) for n in range(6)]))
            )
            await asyncio.sleep(0)
            assert ledger.depth == 6
            more = bundle([entry(tenant, f"more {n}") for n in range(3)])
            assert set(verdicts(await ledger.record_all(more))) == {"OVERLOADED"}
            single = [
                asyncio.create_task(ledger.record(entry(tenant, f"single {n}")))
                for n in range(2)
            ]
            await asyncio.sleep(0)
            assert ledger.is_full
        assert set(verdicts(await waiting)) == {"ACCEPTED"}
        assert set(verdicts(list(await asyncio.gather(*single)))) == {"ACCEPTED"}
        # Longer than the queue, it has its turn when nobody waits.
        longer = bundle([entry(tenant, f"longer {n}") for n in range(20)])
        assert set(verdicts(await ledger.record_all(longer))) == {"ACCEPTED"}

    run(test)
    assert len(rows(tenant, "1")) == 29


def test_a_bundle_that_postgres_refuses_is_undone_and_holds_nobody_up(
    tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(ledger: Ledger) -> None:
        bad = bundle([entry(tenant, "a"), entry(tenant, "nul\0")])
        good = bundle([entry(tenant, "b")])
        outcomes = await asyncio.gather(ledger.record_all(bad), ledger.record_all(good))
        assert [set(verdicts(one)) for one in outcomes] == [
            {"UNAVAILABLE"},
            {"ACCEPTED"},
        ]

    run(test)
    assert rows(tenant, "c.transaction_id") == [("b",)]
    assert "refuses a bundle" in caplog.text


def test_a_bundle_whose_commit_could_be_lost_is_not_stored(
    tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(ledger: Ledger) -> None:
        await ledger.record(entry(tenant, "first"))
        await ledger._lane.execute("SET synchronous_commit = off")
        outcomes = await ledger.record_all(bundle([entry(tenant, "x")]))
        assert verdicts(outcomes) == ["UNAVAILABLE"]
        assert ledger.depth == 0

    run(test)
    assert "synchronous_commit=off" in caplog.text
    assert rows(tenant, "c.transaction_id") == [("first",)]


def test_without_postgres_a_bundle_is_refused_at_once(tenant: Tenant) -> None:
    async def test(ledger: Ledger) -> None:
        await ledger.record(entry(tenant, "x"))
        outcomes = await ledger.record_all(bundle([entry(tenant, "y")]))
        assert verdicts(outcomes) == ["UNAVAILABLE"]

    with override_settings(DATABASE_URL="postgresql://127.0.0.1:1/none"):
        run(test)
    assert rows(tenant, "1") == []
