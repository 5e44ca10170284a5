"""The listener without a server: bounds, lateness and what it knows of sources."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from django.conf import settings
from django.test import override_settings

from ingest.listener import core
from ingest.listener.core import Listener
from ingest.listener.replies import Reply
from ingest.listener.requests import BodyBroken
from ingest.tests.listening import Sender, callback, new_sender
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
