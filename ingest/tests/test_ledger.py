"""The group commit, against a real Postgres in the pipeline's role."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.conf import settings
from django.test import override_settings

from ingest.listener.entries import Entry, Outcome, Verdict
from ingest.listener.ledger import Ledger
from tenants.database import pipeline
from tenants.identifiers import new_id
from tenants.models import Tenant
from tenants.services import NewTenant

SOURCE = new_id()


def run(test: Callable[[Ledger], Awaitable[None]]) -> None:
    async def inner() -> None:
        async with started() as ledger:
            await test(ledger)

    asyncio.run(inner())


@asynccontextmanager
async def started() -> AsyncGenerator[Ledger, None]:
    ledger = Ledger()
    ledger.start()
    try:
        yield ledger
    finally:
        await ledger.close()


def entry(
    tenant: Tenant, transaction_id: str, digest: bytes = b"d", source: UUID = SOURCE
) -> Entry:
    return Entry(
        tenant_id=tenant.pk,
        source_id=source,
        transaction_id=transaction_id,
        digest=digest * 32,
        content_type="application/json",
        body=b"{}" + digest,
        deadline_at=asyncio.get_running_loop().time() + settings.LISTENER_DEADLINE_S,
    )


async def record(ledger: Ledger, entries: list[Entry]) -> list[Outcome]:
    return list(await asyncio.gather(*(ledger.record(entry) for entry in entries)))


def rows(tenant: Tenant, columns: str) -> list[Any]:
    with pipeline() as lane:
        return lane.execute(
            f"""SELECT {columns} FROM ingest_callback c
            JOIN ingest_callbackbody b ON b.tenant_id = c.tenant_id
                AND b.callback_id = c.id
            JOIN ingest_pendingcallback p ON p.tenant_id = c.tenant_id
                AND p.callback_id = c.id
            WHERE c.tenant_id = %s ORDER BY c.transaction_id""",  # noqa: S608
            [tenant.pk],
        ).fetchall()


def test_what_arrives_together_is_committed_together(tenant: Tenant) -> None:
    async def test(ledger: Ledger) -> None:
        entries = [entry(tenant, f"{n:03}") for n in range(200)]
        outcomes = await record(ledger, entries)
        assert outcomes == [
            Outcome(Verdict.ACCEPTED, entry.receipt) for entry in entries
        ]

    run(test)
    found = rows(tenant, "c.transaction_id, c.received_at, b.received_at")
    assert [row[0] for row in found] == [f"{n:03}" for n in range(200)]
    assert len({row[1] for row in found}) <= 2
    assert all(row[1] == row[2] for row in found)


def test_one_batch_holds_no_more_than_it_may(tenant: Tenant) -> None:
    async def test(ledger: Ledger) -> None:
        await record(ledger, [entry(tenant, str(n)) for n in range(25)])

    with override_settings(LISTENER_BATCH_SIZE=10):
        run(test)
    assert len({at for (at,) in rows(tenant, "c.received_at")}) == 3


def test_a_repeat_gets_the_first_receipt_in_one_batch_and_later(
    tenant: Tenant,
) -> None:
    async def test(ledger: Ledger) -> None:
        outcomes = await record(ledger, [entry(tenant, "x") for _ in range(10)])
        verdicts = sorted(outcome.verdict.name for outcome in outcomes)
        assert verdicts == ["ACCEPTED"] + ["DUPLICATE"] * 9
        (receipt,) = {outcome.receipt for outcome in outcomes}
        again = await ledger.record(entry(tenant, "x"))
        assert again == Outcome(Verdict.DUPLICATE, receipt)

    run(test)
    assert len(rows(tenant, "1")) == 1


def test_other_bytes_conflict_and_the_first_stay(tenant: Tenant) -> None:
    async def test(ledger: Ledger) -> None:
        outcomes = await record(
            ledger, [entry(tenant, "x", b"1"), entry(tenant, "x", b"2")]
        )
        assert {outcome.verdict for outcome in outcomes} == {
            Verdict.ACCEPTED,
            Verdict.CONFLICT,
        }

    run(test)
    assert len(rows(tenant, "b.body")) == 1


def test_ids_are_compared_bytewise_and_belong_to_a_source(
    tenant: Tenant, stranger: NewTenant
) -> None:
    async def test(ledger: Ledger) -> None:
        entries = [
            *(entry(tenant, text) for text in ("é", "e\u0301", "É", "x", "X", "x ")),
            entry(tenant, "x", source=new_id()),
            entry(stranger.tenant, "x"),
        ]
        outcomes = await record(ledger, entries)
        assert {outcome.verdict for outcome in outcomes} == {Verdict.ACCEPTED}

    run(test)
    assert len(rows(tenant, "1")) == 7
    assert len(rows(stranger.tenant, "1")) == 1


def test_two_listeners_never_wait_in_a_circle_and_never_store_twice(
    tenant: Tenant,
) -> None:
    async def test(first: Ledger) -> None:
        async with started() as second:
            ids = [f"{n}" for n in range(300)]
            here = [entry(tenant, text) for text in ids]
            there = [entry(tenant, text) for text in reversed(ids)]
            one, two = await asyncio.gather(record(first, here), record(second, there))
        two.reverse()
        for left, right in zip(one, two, strict=True):
            assert left.receipt == right.receipt
            assert {left.verdict, right.verdict} == {
                Verdict.ACCEPTED,
                Verdict.DUPLICATE,
            }

    run(test)
    assert len(rows(tenant, "1")) == 300


def test_a_callback_that_postgres_refuses_does_not_hold_the_others(
    tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(ledger: Ledger) -> None:
        entries = [entry(tenant, text) for text in ("a", "nul\0", "\ud800", "b")]
        outcomes = await record(ledger, entries)
        assert [outcome.verdict for outcome in outcomes] == [
            Verdict.ACCEPTED,
            Verdict.UNAVAILABLE,
            Verdict.UNAVAILABLE,
            Verdict.ACCEPTED,
        ]

    run(test)
    assert rows(tenant, "c.transaction_id") == [("a",), ("b",)]
    assert "refuses a callback" in caplog.text


@asynccontextmanager
async def locked_ledger() -> AsyncGenerator[psycopg.AsyncConnection[Any], None]:
    """Hold the ledger's table, as its owner, until the block ends."""
    async with (
        await psycopg.AsyncConnection.connect(settings.DATABASE_URL) as owner,
        owner.transaction(force_rollback=True),
    ):
        await owner.execute("LOCK ingest_callback IN ACCESS EXCLUSIVE MODE")
        yield owner


@override_settings(LISTENER_DEADLINE_S=1)
def test_everyone_is_answered_by_the_deadline_while_postgres_is_stuck(
    tenant: Tenant,
) -> None:
    async def test(ledger: Ledger) -> None:
        await ledger.record(entry(tenant, "first"))
        started_at = monotonic()
        async with locked_ledger():
            outcomes = await record(ledger, [entry(tenant, str(n)) for n in range(9)])
        assert {outcome.verdict for outcome in outcomes} == {Verdict.UNAVAILABLE}
        assert monotonic() - started_at < 1.5
        again = await record(ledger, [entry(tenant, str(n)) for n in range(9)])
        assert {outcome.verdict for outcome in again} == {Verdict.ACCEPTED}

    run(test)
    assert len(rows(tenant, "1")) == 10


@override_settings(LISTENER_QUEUE_LENGTH=4)
def test_a_full_queue_refuses_at_once(tenant: Tenant) -> None:
    async def test(ledger: Ledger) -> None:
        await ledger.record(entry(tenant, "first"))
        async with locked_ledger():
            waiting = [
                asyncio.create_task(ledger.record(entry(tenant, str(n))))
                for n in range(4)
            ]
            await asyncio.sleep(0)
            assert ledger.is_full
            outcome = await ledger.record(entry(tenant, "more"))
            assert outcome.verdict is Verdict.OVERLOADED
        outcomes = await asyncio.gather(*waiting)
        assert {outcome.verdict for outcome in outcomes} == {Verdict.ACCEPTED}

    run(test)
    assert len(rows(tenant, "1")) == 5


def test_a_lost_connection_is_replaced_and_nothing_is_lost_or_doubled(
    tenant: Tenant,
) -> None:
    async def test(ledger: Ledger) -> None:
        first = await ledger.record(entry(tenant, "first"))
        assert first.verdict is Verdict.ACCEPTED
        connection = ledger._lane.connection
        assert connection is not None
        async with locked_ledger() as owner:
            waiting = [
                asyncio.create_task(ledger.record(entry(tenant, str(n))))
                for n in range(5)
            ]
            await asyncio.sleep(0.1)
            await owner.execute(
                "SELECT pg_terminate_backend(%s, 5000)", [connection.info.backend_pid]
            )
        outcomes = await asyncio.gather(*waiting)
        assert {outcome.verdict for outcome in outcomes} == {Verdict.ACCEPTED}

    run(test)
    assert len(rows(tenant, "1")) == 6


def test_a_callback_committed_before_its_connection_was_lost_keeps_its_receipt(
    tenant: Tenant,
) -> None:
    async def test(ledger: Ledger) -> None:
        sent = entry(tenant, "x")
        await ledger.record(sent)
        retry = entry(tenant, "x")
        retry.receipt = sent.receipt
        assert await ledger.record(retry) == Outcome(Verdict.ACCEPTED, sent.receipt)

    run(test)


UNSAFE = {"DATABASE_URL": f"{settings.DATABASE_URL}&options=-csynchronous_commit%3Doff"}


def test_it_does_not_serve_when_commits_can_be_lost(
    tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(ledger: Ledger) -> None:
        outcome = await ledger.record(entry(tenant, "x"))
        assert outcome.verdict is Verdict.UNAVAILABLE
        assert ledger.is_away

    with override_settings(**UNSAFE), caplog.at_level(logging.ERROR):
        run(test)
    assert "synchronous_commit=off" in caplog.text
    assert rows(tenant, "1") == []


def test_an_operator_can_allow_commits_that_can_be_lost(tenant: Tenant) -> None:
    async def test(ledger: Ledger) -> None:
        outcome = await ledger.record(entry(tenant, "x"))
        assert outcome.verdict is Verdict.ACCEPTED

    with override_settings(**UNSAFE, ALLOW_UNSAFE_COMMIT=True):
        run(test)


def test_without_postgres_callers_are_told_at_once(tenant: Tenant) -> None:
    async def test(ledger: Ledger) -> None:
        first = await ledger.record(entry(tenant, "x"))
        started_at = monotonic()
        second = await ledger.record(entry(tenant, "x"))
        assert first.verdict is second.verdict is Verdict.UNAVAILABLE
        assert monotonic() - started_at < 1

    with override_settings(DATABASE_URL="postgresql://127.0.0.1:1/none"):
        run(test)


@asynccontextmanager
async def unsafe_commits() -> AsyncGenerator[None, None]:
    """Let the whole server write what a crash can tear, until the block ends."""
    async with await psycopg.AsyncConnection.connect(
        settings.DATABASE_URL, autocommit=True
    ) as owner:
        await owner.execute("ALTER SYSTEM SET full_page_writes = off")
        try:
            await owner.execute("SELECT pg_reload_conf()")
            yield
        finally:
            await owner.execute("ALTER SYSTEM RESET full_page_writes")
            await owner.execute("SELECT pg_reload_conf()")


async def record_until(ledger: Ledger, tenant: Tenant, verdict: Verdict) -> bool:
    """Tell whether a callback ends so within five seconds."""
    for _ in range(500):
        outcome = await ledger.record(entry(tenant, new_id().hex))
        if outcome.verdict is verdict:
            return True
        await asyncio.sleep(0.01)
    return False


def test_commits_that_become_unsafe_are_acknowledged_no_more(
    tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(ledger: Ledger) -> None:
        assert await record_until(ledger, tenant, Verdict.ACCEPTED)
        async with unsafe_commits():
            assert await record_until(ledger, tenant, Verdict.UNAVAILABLE)
            outcome = await ledger.record(entry(tenant, "x"))
            assert outcome.verdict is Verdict.UNAVAILABLE
        assert await record_until(ledger, tenant, Verdict.ACCEPTED)

    run(test)
    assert "full_page_writes=off" in caplog.text


def test_a_commit_without_its_flush_is_not_acknowledged(
    tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(ledger: Ledger) -> None:
        assert await record_until(ledger, tenant, Verdict.ACCEPTED)
        await ledger._lane.execute("SET synchronous_commit = off")
        outcomes = await record(ledger, [entry(tenant, str(n)) for n in range(3)])
        assert {outcome.verdict for outcome in outcomes} == {Verdict.UNAVAILABLE}

    run(test)
    assert "synchronous_commit=off" in caplog.text
