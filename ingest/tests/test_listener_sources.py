"""What a listener knows of sources, and how it hears of their changes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

import psycopg
import pytest
from django.conf import settings
from django.db import connections
from django.test import override_settings

from ingest.listener.sources import SourceDirectory, SourcesUnavailable
from ingest.models import Source
from ingest.services.sources import (
    revoke_device,
    rotate_secret,
    set_enabled,
    update_source,
)
from ingest.tests.listening import Sender, new_sender
from tenants import vault
from tenants.actors import operator
from tenants.database import acting_for
from tenants.models import Tenant


async def until(condition: Callable[[], Awaitable[bool]]) -> float:
    """Wait until it holds, and return how long that took."""
    started_at = time.monotonic()
    while not await condition():
        assert time.monotonic() - started_at < 5
        await asyncio.sleep(0.01)
    return time.monotonic() - started_at


async def in_thread(change: Callable[[], None]) -> None:
    """Make a change as the console would, from a thread of its own."""

    def made() -> None:
        try:
            change()
        finally:
            connections.close_all()

    await asyncio.to_thread(made)


def directory(test: Callable[[SourceDirectory], Awaitable[None]]) -> None:
    async def inner() -> None:
        sources = SourceDirectory()
        sources.start()

        async def hears() -> bool:
            return sources._announcements.connection is not None

        await until(hears)
        try:
            await test(sources)
        finally:
            await sources.close()

    asyncio.run(inner())


def test_a_disabled_source_is_forgotten_at_once(tenant: Tenant, sender: Sender) -> None:
    text = sender.source.public_id

    def switch(enabled: bool) -> None:
        with acting_for(tenant):
            set_enabled(
                tenant=tenant,
                actor=operator(tenant),
                source=sender.source,
                enabled=enabled,
            )

    async def test(sources: SourceDirectory) -> None:
        async def is_known() -> bool:
            return await sources.find(text) is not None

        async def is_unknown() -> bool:
            return await sources.find(text) is None

        await until(is_known)
        await in_thread(lambda: switch(False))
        assert await until(is_unknown) < 1
        await in_thread(lambda: switch(True))
        assert await until(is_known) < 1

    directory(test)


def unheard(source: Source, *, is_cut: bool = False, pid: int = 0) -> None:
    """Disable a source, of which no announcement arrives."""
    with psycopg.connect(settings.DATABASE_URL, autocommit=True) as owner:
        if is_cut:
            owner.execute("SELECT pg_terminate_backend(%s)", [pid])
        owner.execute(
            """WITH change AS (UPDATE ingest_source SET enabled = false WHERE id = %s)
            UPDATE ingest_sourceversion SET version = version + 1""",
            [source.pk],
        )


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_change_whose_announcement_is_lost_is_noticed_by_its_number(
    sender: Sender, is_cut: bool
) -> None:
    text = sender.source.public_id

    async def test(sources: SourceDirectory) -> None:
        async def is_known() -> bool:
            return await sources.find(text) is not None

        async def is_unknown() -> bool:
            return await sources.find(text) is None

        await until(is_known)
        lane = sources._announcements.connection
        assert lane is not None
        pid = lane.info.backend_pid
        await in_thread(lambda: unheard(sender.source, is_cut=is_cut, pid=pid))
        assert await until(is_unknown) < 1

    directory(test)


def test_an_announcement_that_follows_a_lost_one_tells_of_both(sender: Sender) -> None:
    async def test(sources: SourceDirectory) -> None:
        async def is_kept() -> bool:
            await sources.find(sender.source.public_id)
            return bool(sources._known)

        await until(is_kept)
        number = sources._version
        sources._forget(f"{uuid4()} {number + 1}")
        assert sources._known
        sources._forget(f"{uuid4()} {number + 3}")
        assert not sources._known

    directory(test)


def test_a_fault_while_news_are_heard_is_not_for_ever(
    tenant: Tenant,
    sender: Sender,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_args: object) -> None:
        raise MemoryError

    def rename() -> None:
        with acting_for(tenant):
            update_source(
                tenant=tenant,
                actor=operator(tenant),
                source=sender.source,
                changes={"name": "y"},
            )

    async def test(sources: SourceDirectory) -> None:
        async def is_told() -> bool:
            return "MemoryError" in caplog.text

        async def is_new() -> bool:
            return await sources.find(sender.source.public_id) is not first

        first = await sources.find(sender.source.public_id)
        with monkeypatch.context() as patch:
            patch.setattr(sources, "_forget", broken)
            await in_thread(rename)
            await until(is_told)
        await until(is_new)

    directory(test)


def test_revoked_devices_in_memory_are_bounded(
    tenant: Tenant, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.listener.sources.REVOKED_LIMIT", 3)
    others = [new_sender(tenant) for _ in range(2)]
    with acting_for(tenant):
        actor = operator(tenant)
        for one in (sender, *others):
            update_source(
                tenant=tenant,
                actor=actor,
                source=one.source,
                changes={"device_keys": True},
            )
            for device in ("a", "b"):
                revoke_device(
                    tenant=tenant,
                    actor=actor,
                    source=one.source,
                    device=device,
                    now=one.source.created_at,
                )

    async def test(sources: SourceDirectory) -> None:
        for one in (sender, *others):
            found = await sources.find(one.source.public_id)
            assert found is not None
            assert found.revoked == {"a", "b"}
            assert sources._revoked <= 3
        assert len(sources._known) == 1

    directory(test)


def test_a_known_source_is_not_asked_for_again(sender: Sender) -> None:
    async def test(sources: SourceDirectory) -> None:
        first = await sources.find(sender.source.public_id)
        await asyncio.sleep(0.05)
        second = await sources.find(sender.source.public_id)
        third = await sources.find(sender.source.public_id)
        assert first is not None
        assert second is third

    directory(test)


def test_keys_end_on_their_own(tenant: Tenant, sender: Sender) -> None:
    def rotate() -> None:
        with acting_for(tenant):
            rotate_secret(
                tenant=tenant,
                actor=operator(tenant),
                source=sender.source,
                overlap_s=60,
                now=now,
            )

    now = sender.source.created_at

    async def test(sources: SourceDirectory) -> None:
        await in_thread(rotate)
        source = await sources.find(sender.source.public_id)
        assert source is not None
        ends_at = now.timestamp() + 60
        assert len(source.keys_at(ends_at - 0.001)) == 2
        assert len(source.keys_at(ends_at)) == 1

    directory(test)


def test_guessed_ids_are_asked_for_together_and_kept_in_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ingest.listener.sources.UNKNOWN_LIMIT", 1_000)

    async def test(sources: SourceDirectory) -> None:
        asked = []
        execute = sources._lookups.execute

        async def counted(statement: str, parameters: object = ()) -> object:
            asked.append(statement)
            return await execute(statement, parameters)  # type: ignore[arg-type]  # passed on

        monkeypatch.setattr(sources._lookups, "execute", counted)
        guesses = [f"src_{uuid4().hex}" for _ in range(3_000)]
        found = await asyncio.gather(*(sources.find(guess) for guess in guesses))
        assert set(found) == {None}
        assert len(asked) <= 10
        assert len(sources._unknown) <= 1_500

    directory(test)


@pytest.mark.parametrize("text", ["", "x", "src_", "src_" + "g" * 32, "ep_" + "0" * 32])
def test_an_id_that_is_none_asks_nobody(text: str) -> None:
    async def test(sources: SourceDirectory) -> None:
        assert await sources.find(text) is None
        assert not sources._unknown

    directory(test)


@override_settings(DATABASE_URL="postgresql://127.0.0.1:1/none", LISTENER_DEADLINE_S=1)
def test_without_postgres_it_is_not_known_whether_there_is_a_source() -> None:
    async def test() -> None:
        sources = SourceDirectory()
        sources.start()
        try:
            with pytest.raises(SourcesUnavailable):
                await sources.find(f"src_{uuid4().hex}")
            assert not await sources.ping()
        finally:
            await sources.close()

    asyncio.run(test())


def test_a_fault_while_sources_are_read_is_not_for_ever(
    sender: Sender, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_args: object, **_kwargs: object) -> bytes:
        raise MemoryError

    async def test(sources: SourceDirectory) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(vault, "unseal", broken)
            with pytest.raises(SourcesUnavailable):
                await sources.find(sender.source.public_id)
        assert await sources.find(sender.source.public_id) is not None

    directory(test)
    assert "MemoryError" in caplog.text
