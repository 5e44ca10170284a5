"""How many callbacks pass in a second: alone, together, and without Redis."""

import asyncio
import signal
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from uuid import uuid4

import pytest
from django.conf import settings
from django.test import override_settings
from redis import Redis

from config.embedded import EmbeddedRedis
from ingest.listener import rates
from ingest.listener.rate_store import PREFIX, Limit, Limits, RateStore
from ingest.listener.rates import LocalBuckets, RateLimiter


def limit(rate: int, name: str = "source") -> Limit:
    """Return a limit that no other test counts by."""
    return Limit(name, f"{name}:{uuid4().hex}", rate)


class OwnRedis:
    """A Redis of one test, which can be frozen, ended and started."""

    def __init__(self, folder: Path) -> None:
        (folder / "run").mkdir()
        self.server = EmbeddedRedis(folder)
        self.url = self.server.url
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.server.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while not self.server.is_ready():
            assert time.monotonic() < deadline

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture
def redis() -> Generator[OwnRedis, None, None]:
    with tempfile.TemporaryDirectory(prefix="gh-rates-") as folder:
        server = OwnRedis(Path(folder))
        try:
            yield server
        finally:
            server.end()


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def run(
    test: Callable[..., Awaitable[None]], *, limiters: int = 1, url: str | None = None
) -> None:
    """Give the test limiters that count together."""

    async def inner() -> None:
        made = [RateLimiter() for _ in range(limiters)]
        for limiter in made:
            limiter.start()
        try:
            await until(lambda: not any(limiter.is_local for limiter in made))
            await test(*made)
        finally:
            for limiter in made:
                await limiter.close()

    with ExitStack() as stack:
        if url is not None:
            stack.enter_context(override_settings(RATE_LIMIT_URL=url))
        asyncio.run(inner())


async def burst(limiter: RateLimiter, limits: Limits, count: int) -> int:
    """Ask so often at once, and return how many pass."""
    grants = await asyncio.gather(*(limiter.take(limits) for _ in range(count)))
    return sum(grant.is_granted for grant in grants)


def test_a_bucket_holds_one_seconds_worth_and_fills_by_its_rate() -> None:
    buckets, one = LocalBuckets(), (limit(10),)

    def passed(now_s: float) -> int:
        grants = [
            buckets.take(one, listeners=1, now_s=now_s).is_granted for _ in range(20)
        ]
        return sum(grants)

    assert passed(1000.0) == 10
    assert passed(1000.05) == 0
    assert passed(1000.35) == 3
    assert passed(9000.0) == 10


def test_a_refusal_says_when_to_come_again() -> None:
    buckets, slow = LocalBuckets(), (limit(1),)
    first = buckets.take(slow, listeners=4, now_s=5.0)
    second = buckets.take(slow, listeners=4, now_s=5.0)
    assert (first.is_granted, first.left) == (True, (0,))
    assert (second.is_granted, second.left, second.wait_s) == (False, (0,), 4)
    assert buckets.take(slow, listeners=4, now_s=9.0).is_granted


def test_who_is_refused_by_one_limit_takes_nothing_from_the_other() -> None:
    buckets, source, tenant = LocalBuckets(), limit(2), limit(5, "tenant")
    taken = [buckets.take((source, tenant), listeners=1, now_s=1.0) for _ in range(9)]
    assert sum(grant.is_granted for grant in taken) == 2
    assert taken[0].left == (1, 4)
    others = [buckets.take((tenant,), listeners=1, now_s=1.0) for _ in range(9)]
    assert sum(grant.is_granted for grant in others) == 3


def test_a_listener_keeps_a_bounded_number_of_buckets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rates, "BUCKET_LIMIT", 10)
    buckets = LocalBuckets()
    for number in range(100):
        buckets.take((limit(5),), listeners=1, now_s=float(number))
        assert len(buckets._full_at) <= 12
    for _ in range(100):
        buckets.take((limit(5),), listeners=1, now_s=200.0)
        assert len(buckets._full_at) <= 12


def test_two_listeners_let_no_more_through_than_the_limit() -> None:
    rate, seconds = 50, 2.0
    one = (limit(rate),)

    async def test(first: RateLimiter, second: RateLimiter) -> None:
        passed, started = 0, time.monotonic()
        while time.monotonic() < started + seconds:
            passed += sum(
                await asyncio.gather(burst(first, one, 5), burst(second, one, 5))
            )
            await asyncio.sleep(0.01)
        took = time.monotonic() - started
        # One second's worth at once, then the rate; over 30 s that is 1.034 times it.
        assert rate * took * 0.9 <= passed <= rate * (took + 1) + 1

    run(test, limiters=2)


def test_a_source_and_its_tenant_are_both_counted() -> None:
    source, tenant = limit(3), limit(5, "tenant")

    async def test(limiter: RateLimiter) -> None:
        assert await burst(limiter, (source, tenant), 10) == 3
        assert await burst(limiter, (tenant,), 10) == 2

    run(test)


def test_what_arrives_meanwhile_is_asked_in_one_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    decide = RateStore.decide

    async def counted(self: RateStore, groups: object, *, timeout_s: float) -> object:
        asked.append(groups)
        return await decide(self, groups, timeout_s=timeout_s)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(RateStore, "decide", counted)
    one, other = (limit(1000),), (limit(1000),)

    async def test(limiter: RateLimiter) -> None:
        passed = await asyncio.gather(
            burst(limiter, one, 150), burst(limiter, other, 150)
        )
        assert list(passed) == [150, 150]
        assert len(asked) == 1

    run(test)


def test_a_bucket_leaves_nothing_behind_in_redis() -> None:
    one = (limit(5),)
    client = Redis.from_url(settings.BROKER_URL.replace("redis+socket", "unix"))

    async def test(limiter: RateLimiter) -> None:
        await burst(limiter, one, 3)
        assert 0 < client.pttl(PREFIX + one[0].key) <= 2000

    try:
        run(test)
    finally:
        client.close()


def test_a_clock_that_jumped_does_not_close_a_source(redis: OwnRedis) -> None:
    one = (limit(5),)
    client = Redis(unix_socket_path=str(redis.server.socket))
    client.set(PREFIX + one[0].key, str(10**17))

    async def test(limiter: RateLimiter) -> None:
        assert await burst(limiter, one, 5) == 0
        await asyncio.sleep(1.05)
        assert await burst(limiter, one, 10) == 5

    try:
        run(test, url=redis.url)
    finally:
        client.close()


def test_scripts_that_redis_forgot_are_told_again(redis: OwnRedis) -> None:
    client = Redis(unix_socket_path=str(redis.server.socket))

    async def test(limiter: RateLimiter) -> None:
        client.script_flush()
        assert await burst(limiter, (limit(5),), 10) == 5
        await until(lambda: not limiter.is_local)
        assert await burst(limiter, (limit(5),), 10) == 5
        assert not limiter.is_local

    try:
        run(test, url=redis.url)
    finally:
        client.close()


def test_a_frozen_redis_costs_one_short_wait_and_the_share_holds(
    redis: OwnRedis, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(first: RateLimiter, second: RateLimiter) -> None:
        await until(lambda: (first._listeners, second._listeners) == (2, 2))
        redis.process.send_signal(signal.SIGSTOP)
        started = time.monotonic()
        assert await burst(first, (limit(10),), 20) == 5
        assert time.monotonic() - started < 0.5
        assert first.is_local
        assert rates.IS_LOCAL._value.get() == 1
        took_s = []
        for _ in range(50):
            started = time.monotonic()
            assert await burst(first, (limit(10),), 20) == 5
            took_s.append(time.monotonic() - started)
        assert median(took_s) < 0.04
        redis.process.send_signal(signal.SIGCONT)
        await until(lambda: not first.is_local)
        assert await burst(first, (limit(10),), 20) == 10

    run(test, limiters=2, url=redis.url)
    assert "counted by this listener alone: no answer in time" in caplog.text
    assert "together again" in caplog.text


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h:1/2", {"host": "h", "port": 1, "db": 2}),
        ("redis://h;redis://i", {"host": "h"}),
        ("redis+socket:///a/b.sock", {"path": "/a/b.sock"}),
        ("redis+socket:///a/b.sock?virtual_host=2", {"path": "/a/b.sock", "db": 2}),
        ("unix:///a/b.sock?db=2", {"path": "/a/b.sock", "db": 2}),
    ],
)
def test_a_brokers_url_is_understood(url: str, expected: dict[str, object]) -> None:
    found = RateStore(url)._pool.connection_kwargs
    assert {name: found[name] for name in expected} == expected


def test_a_listener_that_ends_is_no_longer_counted(redis: OwnRedis) -> None:
    async def test(limiter: RateLimiter) -> None:
        assert limiter._listeners == 1

    for _ in range(2):
        run(test, url=redis.url)


def test_a_redis_that_went_away_is_found_again(redis: OwnRedis) -> None:
    one = (limit(4),)

    async def test(limiter: RateLimiter) -> None:
        assert await burst(limiter, one, 10) == 4
        redis.end()
        # What passed before it went away counts.
        assert await burst(limiter, one, 10) <= 1
        assert limiter.is_local
        redis.start()
        await until(lambda: not limiter.is_local)
        assert await burst(limiter, (limit(4),), 10) == 4

    run(test, url=redis.url)


@override_settings(RATE_LIMIT_URL="")
def test_without_any_redis_a_listener_counts_for_itself() -> None:
    async def test() -> None:
        limiter = RateLimiter()
        limiter.start()
        assert await burst(limiter, (limit(4),), 10) == 4
        await limiter.close()

    asyncio.run(test())


@override_settings(RATE_LIMIT_URL="redis://127.0.0.1:1/0")
def test_a_redis_that_was_never_there_costs_no_wait() -> None:
    async def test() -> None:
        limiter = RateLimiter()
        limiter.start()
        started = time.monotonic()
        assert await burst(limiter, (limit(4),), 10) == 4
        assert time.monotonic() - started < 0.5
        await limiter.close()

    asyncio.run(test())


def test_a_fault_in_the_limiter_keeps_nobody_waiting(
    redis: OwnRedis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_args: object, **_kwargs: object) -> object:
        raise MemoryError

    async def test(limiter: RateLimiter) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(RateStore, "decide", broken)
            assert await burst(limiter, (limit(4),), 10) == 4
        await until(lambda: not limiter.is_local)

    run(test, url=redis.url)
    assert "MemoryError" in caplog.text
