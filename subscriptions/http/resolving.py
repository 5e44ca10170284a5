"""
Names to addresses: on threads of our own, within a deadline, remembered briefly.

`getaddrinfo` cannot be interrupted, so a name whose servers hang holds a thread long
after nobody waits for it any more. Names are therefore looked up in lanes, by how they
fared last: those that were found never wait behind those that were not. While name
servers hang or fail, what they said last stands in for an answer.
Source: docs/explanation/ssrf.md
"""

import os
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from queue import Empty, SimpleQueue

#: How long a request waits for its host's addresses.
DEADLINE_S = 5.0
#: How long a person who saves a URL waits for them.
SAVE_DEADLINE_S = 2.0
#: How long an answer is used again, found or not.
FOUND_FOR_S = 30.0
NOT_FOUND_FOR_S = 5.0
#: How long the addresses found last stand in while name servers are in trouble.
LAST_FOUND_FOR_S = 600.0
#: A name that takes longer is in trouble; its thread no longer counts in its lane.
SLOW_S = 1.0
#: Names that are remembered, and that are looked up at once.
_NAMES = 4096
_UNDER_WAY = 1024
#: Addresses of one name that are judged and tried.
_ADDRESSES = 64
#: Threads of each lane: of names found last time, of new ones, of those that have
#: trouble since they were found, and of the rest; and how many more may hang.
_THREADS = {"found": 8, "new": 8, "troubled": 4, "failed": 4}
_HANGING = {"found": 64, "new": 16, "troubled": 16, "failed": 4}
#: What a resolver says when it is the servers' trouble, and not the name that is wrong.
_TEMPORARY = {socket.EAI_AGAIN, socket.EAI_MEMORY, socket.EAI_SYSTEM}

LookUp = Callable[[str], list[str]]


@dataclass(frozen=True)
class Answer:
    """A name's addresses, or why there are none."""

    addresses: tuple[str, ...]
    error: str = ""
    #: Whether the name may well have addresses all the same.
    is_temporary: bool = False


@dataclass
class _Memory:
    answer: Answer
    use_until: float
    lane: str
    #: What was found last, and until when it may stand in.
    found: Answer | None
    found_until: float


Tell = Callable[[Answer], None]


@dataclass
class _UnderWay:
    since: float
    lane: str
    tells: list[Tell]


@dataclass
class _Lane:
    names: SimpleQueue[str] = field(default_factory=SimpleQueue)
    threads: int = 0
    #: Since when each thread that is looking a name up does so.
    busy: dict[int, float] = field(default_factory=dict)

    def counted(self) -> int:
        """Return how many of its threads do not hang."""
        hung_since = time.monotonic() - SLOW_S
        return self.threads - sum(since < hung_since for since in self.busy.values())


def ask_system(name: str) -> list[str]:
    """
    Return the addresses that the machine's resolver has for the name.

    Raises: OSError.
    """
    found = socket.getaddrinfo(name.encode("ascii"), None, type=socket.SOCK_STREAM)
    addresses = (str(one[4][0]).partition("%")[0] for one in found)
    return list(dict.fromkeys(addresses))


class Resolver:
    """Looks names up for many requests at once."""

    def __init__(self, ask: LookUp = ask_system) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._memory: OrderedDict[str, _Memory] = OrderedDict()
        self._under_way: dict[str, _UnderWay] = {}
        self._lanes = {lane: _Lane() for lane in _THREADS}

    def known(self, name: str) -> Answer | None:
        """Return the answer that is still good; None: it must be asked for."""
        memory = self._memory.get(name)
        if memory is None:
            return None
        now = time.monotonic()
        if memory.use_until >= now:
            return memory.answer
        under_way = self._under_way.get(name)
        if under_way is None or now - under_way.since < SLOW_S:
            return None
        with self._lock:
            self._staff(under_way.lane)
        return self.last_found(name)

    def last_found(self, name: str) -> Answer | None:
        """Return the addresses that may stand in while no server answers."""
        memory = self._memory.get(name)
        is_good = memory is not None and memory.found_until > time.monotonic()
        return memory.found if memory is not None and is_good else None

    def wait_s(self, name: str) -> float:
        """Return how long a request waits for the name's answer."""
        return DEADLINE_S if self.last_found(name) is None else SLOW_S

    def ask(self, name: str, tell: Tell) -> None:
        """Look the name up; `tell` is called with the answer, on another thread."""
        with self._lock:
            under_way = self._under_way.get(name)
            if under_way is not None:
                under_way.tells.append(tell)
                self._staff(under_way.lane)
                return
            is_full = len(self._under_way) >= _UNDER_WAY
            if not is_full:
                self._begin(name, tell)
        if is_full:
            none = Answer((), "Too many host names are being looked up.")
            tell(self.last_found(name) or none)

    def give_up(self, name: str) -> Answer:
        """Remember for a moment that the name's servers do not answer."""
        answer = Answer((), "No name server answered in time.", is_temporary=True)
        with self._lock:
            if name in self._under_way:
                return self._remember(name, answer, is_slow=True)
        return self.last_found(name) or answer

    def _begin(self, name: str, tell: Tell) -> None:
        memory = self._memory.get(name)
        lane = memory.lane if memory is not None else "new"
        self._under_way[name] = _UnderWay(time.monotonic(), lane, [tell])
        self._lanes[lane].names.put(name)
        self._staff(lane)

    def _staff(self, name: str) -> None:
        """Have a thread for what waits in the lane: those that hang do not count."""
        lane = self._lanes[name]
        most = _THREADS[name] + _HANGING[name]
        if lane.names.empty() or lane.threads >= most:
            return
        if lane.counted() < _THREADS[name]:
            lane.threads += 1
            threading.Thread(
                target=self._work, args=(name,), name=f"dns-{name}", daemon=True
            ).start()

    def _work(self, lane: str) -> None:
        is_needed = True
        while is_needed:
            name = self._lanes[lane].names.get()
            started = time.monotonic()
            with self._lock:
                self._lanes[lane].busy[threading.get_ident()] = started
            answer = self._answer(name)
            is_slow = time.monotonic() - started > SLOW_S
            with self._lock:
                is_needed = self._is_needed(lane)
                answer = self._remember(name, answer, is_slow=is_slow)
                under_way = self._under_way.pop(name)
            for tell in under_way.tells:
                tell(answer)

    def _is_needed(self, name: str) -> bool:
        """Tell whether this thread, done with its name, looks up others."""
        lane = self._lanes[name]
        del lane.busy[threading.get_ident()]
        is_needed = lane.counted() <= _THREADS[name]
        lane.threads -= not is_needed
        return is_needed

    def _answer(self, name: str) -> Answer:
        try:
            found = self._ask(name)
        except UnicodeError as error:
            return Answer((), f"The host name was not found: {error}.")
        except OSError as error:
            is_final = isinstance(error, socket.gaierror) and (
                error.errno not in _TEMPORARY
            )
            why = f"The host name was not found: {error.strerror or error}."
            return Answer((), why, is_temporary=not is_final)
        if not found:
            return Answer((), "The host name has no address.")
        if len(found) > _ADDRESSES:
            return Answer((), f"The host name has more than {_ADDRESSES} addresses.")
        return Answer(tuple(found))

    def _remember(self, name: str, answer: Answer, *, is_slow: bool) -> Answer:
        """Keep the answer for a while; return it, or what stands in for it."""
        now = time.monotonic()
        keep_s = NOT_FOUND_FOR_S if answer.error else FOUND_FOR_S
        found: Answer | None = None if answer.error else answer
        found_until = now + LAST_FOUND_FOR_S
        if answer.is_temporary and (found := self.last_found(name)) is not None:
            answer, is_slow = found, True
            found_until = self._memory[name].found_until
        lane = "failed" if found is None else "troubled" if is_slow else "found"
        self._memory[name] = _Memory(answer, now + keep_s, lane, found, found_until)
        self._memory.move_to_end(name)
        if len(self._memory) > _NAMES:
            self._memory.popitem(last=False)
        return answer


@lru_cache(maxsize=1)
def shared() -> Resolver:
    """Return this process's resolver."""
    return Resolver()


# A child has none of its parent's threads.
os.register_at_fork(after_in_child=shared.cache_clear)


def look_up(name: str) -> tuple[str, ...]:
    """Return the name's addresses; empty: none were found in a moment."""
    resolver = shared()
    answer = resolver.known(name)
    if answer is None:
        told: SimpleQueue[Answer] = SimpleQueue()
        resolver.ask(name, told.put)
        try:
            answer = told.get(timeout=SAVE_DEADLINE_S)
        except Empty:
            answer = resolver.give_up(name)
    return answer.addresses
