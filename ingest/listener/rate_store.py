"""
The buckets that all listeners share, in Redis.

One script call decides for a whole batch of requests. Of a bucket Redis holds one
number: when it is full again. By Redis' own clock, so that no two listeners differ.
Source: docs/reference/listener.md
"""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

#: In braces, so that a cluster keeps all of them in one place.
PREFIX = "gridhook:{rate}:"
#: A listener that was not heard of for this long does not count.
LISTENER_AGE_S = 10

#: KEYS: the buckets. ARGV: the rate of each, then for each group of requests the
#: places of its one or two buckets (0: none) and how many they are. A bucket holds one
#: second's worth; a group takes of all its buckets or of none. Returns for each group
#: how many were granted, and what each bucket has left. A bucket never counts as empty
#: for longer than a second, wherever the clock jumps.
DECIDE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local cost, full_at = {}, {}
for i, key in ipairs(KEYS) do
    cost[i] = 1000000 / tonumber(ARGV[i])
    local kept = tonumber(redis.call('GET', key) or 0)
    full_at[i] = math.max(now, math.min(kept, now + 1000000))
end
local function left(i)
    return math.floor((now + 1000000 - full_at[i]) / cost[i] + 0.001)
end
local replies = {}
for n = #KEYS + 1, #ARGV, 3 do
    local granted = tonumber(ARGV[n + 2])
    local own = {tonumber(ARGV[n]), tonumber(ARGV[n + 1])}
    for _, i in ipairs(own) do
        if i > 0 then granted = math.min(granted, left(i)) end
    end
    replies[#replies + 1] = granted
    for _, i in ipairs(own) do
        if i > 0 then
            full_at[i] = full_at[i] + granted * cost[i]
            replies[#replies + 1] = left(i)
        else
            replies[#replies + 1] = 0
        end
    end
end
for i, key in ipairs(KEYS) do
    redis.call('SET', key, string.format('%.0f', full_at[i]), 'PX', 2000)
end
return replies
"""

#: Counts this listener, and returns how many there are.
BEAT = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
redis.call('EXPIRE', KEYS[1], 60)
return redis.call('ZCARD', KEYS[1])
"""


class StoreUnavailable(Exception):
    """Redis is away, or did not answer in time."""


class Limit(NamedTuple):
    """Requests a second that a source, or all of a tenant's sources, may make."""

    #: `source` or `tenant`.
    name: str
    #: Of the source or tenant.
    key: str
    rate: int


#: One or two: the source's own, its tenant's.
Limits = tuple[Limit, ...]


class Decision(NamedTuple):
    """How many of a group may pass, and what each of its buckets has left."""

    granted: int
    left: tuple[int, ...]


class RateStore:
    """One connection to the Redis that counts."""

    def __init__(self, url: str) -> None:
        # Times are kept here: a time-out of the library's own can swallow another one.
        self._pool = ConnectionPool.from_url(
            _plain(url),
            socket_timeout=None,
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),
        )
        self._connection: AbstractConnection | None = None
        self._decide = self._beat = b""
        self._name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"

    async def decide(
        self, groups: Sequence[tuple[Limits, int]], *, timeout_s: float
    ) -> list[Decision]:
        """
        Return the decision about each group of requests.

        Raises: StoreUnavailable.
        """
        rates = {limit.key: limit.rate for limits, _ in groups for limit in limits}
        places = {key: place for place, key in enumerate(rates, start=1)}
        asked: list[int] = []
        for limits, wanted in groups:
            own = [places[limit.key] for limit in limits]
            asked += [*own, *[0] * (2 - len(own)), wanted]
        keys = [PREFIX + key for key in rates]
        told: list[int] = await self._ask(
            self._decide, timeout_s, len(keys), *keys, *rates.values(), *asked
        )
        return [
            Decision(told[at], tuple(told[at + 1 : at + 1 + len(limits)]))
            for at, (limits, _) in zip(range(0, len(told), 3), groups, strict=True)
        ]

    async def beat(self, *, timeout_s: float) -> int:
        """
        Say that this listener lives, and return how many do; connects where needed.

        Raises: StoreUnavailable.
        """
        if self._connection is None:
            await self._open(timeout_s)
        listeners = f"{PREFIX}listeners"
        count: int = await self._ask(
            self._beat, timeout_s, 1, listeners, self._name, LISTENER_AGE_S
        )
        return count

    async def leave(self, *, timeout_s: float) -> None:
        """
        Say that this listener ends.

        Raises: StoreUnavailable.
        """
        async with self._bounded(timeout_s):
            await self._send("ZREM", f"{PREFIX}listeners", self._name)

    async def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(RedisError, OSError):
                await connection.disconnect(nowait=True)

    async def _open(self, timeout_s: float) -> None:
        self._connection = self._pool.make_connection()  # type: ignore[no-untyped-call]  # untyped there
        async with self._bounded(timeout_s):
            await self._connection.connect()
            self._decide = await self._send("SCRIPT", "LOAD", DECIDE)
            self._beat = await self._send("SCRIPT", "LOAD", BEAT)

    async def _ask(self, script: bytes, timeout_s: float, *arguments: str | int) -> Any:
        async with self._bounded(timeout_s):
            return await self._send("EVALSHA", script, *arguments)

    @asynccontextmanager
    async def _bounded(self, timeout_s: float) -> AsyncGenerator[None, None]:
        """
        Let the block last so long at most.

        Raises: StoreUnavailable.
        """
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except (RedisError, OSError) as error:
            # What comes late would be taken for the answer to something else.
            await self.close()
            raise StoreUnavailable(str(error) or "no answer in time") from error

    async def _send(self, *command: bytes | str | int) -> Any:
        if self._connection is None:
            raise RedisError("not connected")
        await self._connection.send_command(*command)
        return await self._connection.read_response(disable_decoding=True)


def _plain(url: str) -> str:
    """Return a broker's URL as Redis' own library writes it; of several the first."""
    first = url.partition(";")[0]
    if not first.startswith("redis+socket://"):
        return first
    return first.replace("redis+socket", "unix", 1).replace("virtual_host=", "db=")
