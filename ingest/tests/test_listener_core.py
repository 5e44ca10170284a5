"""The listener without a server: bounds, lateness and what it knows of sources."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import connections
from django.test import override_settings

from ingest.listener import core
from ingest.listener.core import Listener
from ingest.listener.replies import Reply
from ingest.listener.requests import BodyBroken
from ingest.listener.sources import SourceDirectory, SourcesUnavailable
from ingest.services.sources import rotate_secret, set_enabled
from ingest.tests.listening import Sender, callback, new_sender
from tenants import vault
from tenants.actors import operator
from tenants.database import acting_for
from tenants.models import Tenant

MIB = 1024 * 1024


@dataclass
class Sent:
    """A request whose body comes in pieces, when they are let through."""

    path: str
    pieces: list[bytes]
    headers: list[tuple[str, str]]
    method: str = "POST"
    client: str = "192.0.2.1:1"
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    is_broken: bool = False

    async def read(self) -> bytes:
        return b"".join([piece async for piece in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            await self.gate.wait()
            yield piece
        if self.is_broken:
            raise BodyBroken


def sent(sender: Sender, body: bytes, *, declare: bool = True, **parts: object) -> Sent:
    headers = [(name.lower(), value) for name, value in sender.hub(body).items()]
    if declare:
        headers.append(("content-length", str(len(body))))
    request = Sent(sender.path, [body], headers)
    request.gate.set()
    for name, value in parts.items():
        setattr(request, name, value)
    return request


def run(test: Callable[[Listener], Awaitable[None]]) -> None:
    async def inner() -> None:
        listener = Listener()
        listener.start()
        try:
            await test(listener)
        finally:
            await listener.close()

    asyncio.run(inner())


def told(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.code


@pytest.fixture
def sender(tenant: Tenant) -> Sender:
    return new_sender(tenant)


def test_a_body_without_a_declared_length_is_taken(sender: Sender) -> None:
    async def test(listener: Listener) -> None:
        body = callback()
        request = sent(sender, body, declare=False)
        request.pieces = [body[:7], b"", body[7:]]
        assert told(await listener.receive(request)) == (202, "accepted")

    run(test)


def test_a_body_is_refused_as_soon_as_it_is_too_large(sender: Sender) -> None:
    async def test(listener: Listener) -> None:
        request = sent(sender, b"", declare=False)
        request.pieces = [b"x" * MIB] * 10 + [b"x"]
        assert told(await listener.receive(request)) == (413, "body_too_large")
        request.headers.append(("content-length", str(10 * MIB + 1)))
        request.gate.clear()
        assert told(await listener.receive(request)) == (413, "body_too_large")
        assert listener._held_bytes == 0

    run(test)


def test_a_body_of_ten_mebibytes_is_taken(sender: Sender) -> None:
    async def test(listener: Listener) -> None:
        body = callback(note="x" * (10 * MIB))
        body = body.replace(b"x" * (len(body) - 10 * MIB), b"", 1)
        assert len(body) == settings.BODY_LIMIT_BYTES
        assert told(await listener.receive(sent(sender, body))) == (202, "accepted")

    run(test)


@override_settings(LISTENER_INFLIGHT_BYTES=3 * MIB)
def test_bodies_beyond_the_memory_bound_are_refused(sender: Sender) -> None:
    async def test(listener: Listener) -> None:
        slow = sent(sender, b"x" * MIB * 2, declare=False)
        slow.pieces = [b"x" * MIB, b"x" * MIB]
        first = asyncio.create_task(listener.receive(slow))
        await asyncio.sleep(0)
        listener._held_bytes += 2 * MIB
        reply = await listener.receive(sent(sender, b"x" * (MIB + 1)))
        assert told(reply) == (503, "overloaded")
        assert ("retry-after", "1") in reply.headers
        listener._held_bytes -= 2 * MIB
        await first
        assert listener._held_bytes == 0

    run(test)


def test_a_body_that_does_not_come_is_given_up(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "BODY_TIMEOUT_S", 0.1)

    async def test(listener: Listener) -> None:
        request = sent(sender, callback())
        request.gate.clear()
        late, prompt = await asyncio.gather(
            listener.receive(request), listener.receive(sent(sender, callback()))
        )
        assert told(late) == (408, "body_timeout")
        assert told(prompt) == (202, "accepted")
        assert not listener._reading
        assert not listener._late

    run(test)


def test_a_sender_that_goes_away_leaves_nothing_behind(sender: Sender) -> None:
    async def test(listener: Listener) -> None:
        for declare in (True, False):
            request = sent(sender, callback(), declare=declare, is_broken=True)
            assert told(await listener.receive(request)) == (400, "malformed_body")
        assert listener._held_bytes == 0
        assert not listener._reading

    run(test)


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
