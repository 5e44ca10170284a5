"""Names to addresses: once for all who wait, briefly remembered, never for long."""

import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from queue import SimpleQueue

import pytest
from django.test import override_settings

from subscriptions.http import Driver, Outcome, Request, resolving, send_all
from subscriptions.http.resolving import Answer, Resolver, ask_system, look_up, shared
from subscriptions.tests.receivers import receiving


def asked(resolver: Resolver, name: str, timeout_s: float = 5) -> Answer:
    told: SimpleQueue[Answer] = SimpleQueue()
    resolver.ask(name, told.put)
    return told.get(timeout=timeout_s)


class Names:
    """A name server of a test: counts, and hangs when it is told to."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.let_go = threading.Event()
        self.waiting = threading.Semaphore(0)

    def __call__(self, name: str) -> list[str]:
        self.counts[name] += 1
        if name.startswith("slow"):
            self.waiting.release()
            self.let_go.wait(10)
        if name.startswith("none"):
            raise socket.gaierror(-2, "Name or service not known")
        return ["127.0.0.1"]


def test_machines_resolver_is_asked() -> None:
    assert "127.0.0.1" in ask_system("localhost")
    assert asked(Resolver(), "no-such-host.invalid").error.startswith(
        "The host name was not found"
    )


def test_answer_is_remembered_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names()
    resolver = Resolver(names)
    assert resolver.known("a.example") is None
    assert asked(resolver, "a.example") == Answer(("127.0.0.1",))
    assert resolver.known("a.example") == Answer(("127.0.0.1",))
    assert asked(resolver, "none.example").addresses == ()
    assert resolver.known("none.example") is not None
    monkeypatch.setattr(resolving, "FOUND_FOR_S", -1.0)
    asked(resolver, "a.example")
    assert resolver.known("a.example") is None
    assert resolving.NOT_FOUND_FOR_S < 30


def test_those_who_ask_at_once_share_one_look_up() -> None:
    names = Names()
    resolver = Resolver(names)
    told: SimpleQueue[Answer] = SimpleQueue()
    for _ in range(50):
        resolver.ask("slow.example", told.put)
    names.let_go.set()
    assert {told.get(timeout=5) for _ in range(50)} == {Answer(("127.0.0.1",))}
    assert names.counts["slow.example"] == 1


def test_names_that_were_found_never_wait_behind_others() -> None:
    names = Names()
    resolver = Resolver(names)
    asked(resolver, "good.example")
    told: SimpleQueue[Answer] = SimpleQueue()
    try:
        for number in range(100):
            resolver.ask(f"slow-{number}.example", told.put)
        for _ in range(8):
            assert names.waiting.acquire(timeout=5)
        started = time.monotonic()
        assert asked(resolver, "good.example").addresses
        assert time.monotonic() - started < 1
        assert sum(names.counts.values()) <= 2 + 8
    finally:
        names.let_go.set()
    for _ in range(100):
        told.get(timeout=5)


def test_names_that_failed_share_a_lane_of_their_own() -> None:
    names = Names()
    resolver = Resolver(names)
    for number in range(20):
        assert asked(resolver, f"none-{number}.example").error
    lanes = Counter(thread.name for thread in threading.enumerate())
    before = lanes["dns-failed"]
    for number in range(20):
        asked(resolver, f"none-{number}.example")
    lanes = Counter(thread.name for thread in threading.enumerate())
    assert before < lanes["dns-failed"] <= before + 4


class Outage(Names):
    """Name servers of which some can be taken away."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self.is_hanging = False

    def __call__(self, name: str) -> list[str]:
        self.counts[name] += 1
        if name.startswith("ill"):
            if self.is_hanging:
                self.waiting.release()
                self.let_go.wait(10)
            if self.failure is not None:
                raise self.failure
        return ["127.0.0.1"]


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Generator[Outage]:
    """Answers that are good for a moment, and servers in trouble soon after."""
    monkeypatch.setattr(resolving, "SLOW_S", 0.1)
    monkeypatch.setattr(resolving, "FOUND_FOR_S", -1.0)
    servers = Outage()
    yield servers
    servers.let_go.set()


FOUND = Answer(("127.0.0.1",))


@pytest.mark.parametrize(
    "failure", [socket.gaierror(socket.EAI_AGAIN, "later"), TimeoutError("late")]
)
def test_last_answer_stands_in_while_name_servers_fail(
    outage: Outage, failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = Resolver(outage)
    asked(resolver, "ill.example")
    outage.failure = failure
    assert asked(resolver, "ill.example") == FOUND
    assert resolver.known("ill.example") == FOUND
    assert asked(resolver, "ill-and-new.example").error
    monkeypatch.setattr(resolving, "LAST_FOUND_FOR_S", -1.0)
    outage.failure = None
    asked(resolver, "ill.example")
    outage.failure = failure
    assert asked(resolver, "ill.example").error


def test_name_that_is_gone_has_no_last_answer(outage: Outage) -> None:
    resolver = Resolver(outage)
    asked(resolver, "ill.example")
    outage.failure = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert asked(resolver, "ill.example").error
    outage.failure = socket.gaierror(socket.EAI_AGAIN, "later")
    assert asked(resolver, "ill.example").error


def test_name_servers_that_hang_hold_up_neither_their_names_nor_others(
    outage: Outage,
) -> None:
    resolver = Resolver(outage)
    ill = [f"ill-{number}.example" for number in range(100)]
    for name in (*ill, "well.example"):
        asked(resolver, name)
    outage.is_hanging = True
    told: SimpleQueue[Answer] = SimpleQueue()
    for name in (*ill, "well.example"):
        resolver.ask(name, told.put)
    for _ in range(8):
        assert outage.waiting.acquire(timeout=5)
    assert outage.counts["well.example"] == 1
    with receiving() as receiver, Driver[str](resolver) as driver:
        ended: dict[str, Outcome] = {}
        for name in (*ill, "well.example"):
            url = f"http://{name}:{receiver.server_port}/"
            driver.add(Request(url, body=b"{}"), name)
        while len(driver):
            ended.update(driver.step(1))
    assert len(ended) == 101
    assert {outcome.error for outcome in ended.values()} == {""}
    assert max(outcome.duration_s for outcome in ended.values()) < 2
    # Nobody waits for the rest of the hanging look-ups.
    assert resolver.known("ill-0.example") == FOUND
    assert resolver.wait_s("never-seen.example") == resolving.DEADLINE_S


def test_thread_that_hangs_is_replaced_in_its_lane(
    outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(resolving._HANGING, "found", 8)
    resolver = Resolver(outage)
    ill = [f"ill-{number}.example" for number in range(20)]
    for name in (*ill, "well.example"):
        asked(resolver, name)
    outage.is_hanging = True
    told: SimpleQueue[Answer] = SimpleQueue()
    for name in ill[:8]:
        resolver.ask(name, told.put)
    for _ in range(8):
        assert outage.waiting.acquire(timeout=5)
    resolver.ask("well.example", told.put)
    time.sleep(resolving.SLOW_S)
    # Whoever asks for it next has it looked up.
    assert resolver.known("well.example") in (FOUND, None)
    assert told.get(timeout=5) == FOUND
    for name in ill[8:]:
        resolver.ask(name, told.put)
    for _ in range(8):
        assert outage.waiting.acquire(timeout=5)
    assert resolver._lanes["found"].threads <= 8 + 8
    outage.let_go.set()
    assert [told.get(timeout=5) for _ in ill] == [FOUND] * 20
    assert resolver._lanes["found"].threads == 8


def test_look_ups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "_UNDER_WAY", 3)
    monkeypatch.setattr(resolving, "_NAMES", 2)
    names = Names()
    resolver = Resolver(names)
    told: SimpleQueue[Answer] = SimpleQueue()
    for number in range(3):
        resolver.ask(f"slow-{number}.example", told.put)
    assert "Too many" in asked(resolver, "one-more.example").error
    names.let_go.set()
    for _ in range(3):
        told.get(timeout=5)
    asked(resolver, "last.example")
    kept = [resolver.known(f"slow-{number}.example") for number in range(3)]
    assert kept.count(None) == 2


def many(_: str) -> list[str]:
    return [f"93.184.216.{number}" for number in range(65)]


@pytest.mark.parametrize("ask", [many, lambda _: []], ids=["many", "none"])
def test_name_with_no_address_or_far_too_many_has_none(
    ask: Callable[[str], list[str]],
) -> None:
    answer = asked(Resolver(ask), "a.example")
    assert answer.addresses == ()
    assert answer.error


@override_settings(DELIVERY_TIMEOUT_S=0.3)
def test_look_up_that_hangs_ends_at_the_deadline_and_holds_nobody_up() -> None:
    names = Names()
    resolver = Resolver(names)
    ended: dict[str, Outcome] = {}
    try:
        with receiving() as receiver, Driver[str](resolver) as driver:
            for name in ("slow", "good", "none"):
                url = f"http://{name}.example:{receiver.server_port}/"
                driver.add(Request(url, body=b"{}"), name)
            assert len(driver) == 3
            while len(driver):
                ended.update(driver.step(1))
            # The answer that comes too late is nobody's any more.
            names.let_go.set()
            asked(resolver, "slow.example")
            assert driver.step(0.05) == []
    finally:
        names.let_go.set()
    assert ended["good"].is_success
    assert ended["none"].error == "dns_error"
    assert ended["slow"].error == "dns_error"
    assert "0.3 s" in ended["slow"].detail
    assert 0.3 <= ended["slow"].duration_s < 1
    assert ended["good"].duration_s < ended["slow"].duration_s


@override_settings(DELIVERY_TIMEOUT_S=1.2)
def test_look_up_counts_towards_the_deadline_of_all() -> None:
    def ask(_: str) -> list[str]:
        time.sleep(1)
        return ["127.0.0.1"]

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://a.example:{silent.getsockname()[1]}/"
        (outcome,) = send_all([Request(url, body=b"{}")], Resolver(ask))
    assert outcome.error == "timeout"
    assert outcome.duration_s < 2


def test_answer_for_a_driver_that_is_gone_goes_nowhere() -> None:
    names = Names()
    resolver = Resolver(names)
    with Driver[str](resolver) as driver:
        driver.add(Request("https://slow.example/", body=b"{}"), "left")
        assert names.waiting.acquire(timeout=5)
    names.let_go.set()
    assert asked(resolver, "slow.example").addresses


def test_person_who_saves_a_url_waits_for_a_moment_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = Names()
    resolver = Resolver(names)
    monkeypatch.setattr(resolving, "shared", lambda: resolver)
    monkeypatch.setattr(resolving, "SAVE_DEADLINE_S", 0.05)
    assert look_up("slow.example") == ()
    monkeypatch.setattr(resolving, "SAVE_DEADLINE_S", 10.0)
    started = time.monotonic()
    assert look_up("slow.example") == ()
    assert time.monotonic() - started < 1
    names.let_go.set()
    assert look_up("good.example") == ("127.0.0.1",)
    assert look_up("good.example") == ("127.0.0.1",)
    assert names.counts["good.example"] == 1


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_child_process_has_a_resolver_of_its_own() -> None:
    parent = shared()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, b"own" if shared() is not parent else b"old")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 3) == b"own"
    os.close(reader)
    os.close(writer)
