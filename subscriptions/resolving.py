"""
Names to addresses: on threads of our own, within a deadline, remembered briefly.

`getaddrinfo` cannot be interrupted, so a name whose servers hang holds a thread long
after nobody waits for it any more. Names are therefore looked up in three lanes, by
how they fared last: those that were found never wait behind those that were not.
Source: docs/explanation/ssrf.md
"""

import os
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from queue import Empty, SimpleQueue

#: How long a request waits for its host's addresses.
DEADLINE_S = 5.0
#: How long a person who saves a URL waits for them.
SAVE_DEADLINE_S = 2.0
#: How long an answer is used again, found or not.
FOUND_FOR_S = 30.0
NOT_FOUND_FOR_S = 5.0
#: A name that takes longer is looked up in the lane of the slow.
_SLOW_S = 1.0
#: Names that are remembered, and that are looked up at once.
_NAMES = 4096
_UNDER_WAY = 1024
#: Addresses of one name that are judged and tried.
_ADDRESSES = 64
_THREADS = {"found": 8, "new": 8, "slow": 4}

LookUp = Callable[[str], list[str]]


@dataclass(frozen=True)
class Answer:
    """A name's addresses, or why there are none."""

    addresses: tuple[str, ...]
    error: str = ""


@dataclass
class _Memory:
    answer: Answer
    use_until: float
    lane: str


Tell = Callable[[Answer], None]


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
        self._waiting: dict[str, list[Tell]] = {}
        self._lanes: dict[str, SimpleQueue[str]] = {
            lane: SimpleQueue() for lane in _THREADS
        }
        self._idle = dict.fromkeys(_THREADS, 0)
        self._threads = dict.fromkeys(_THREADS, 0)

    def known(self, name: str) -> Answer | None:
        """Return the answer that is still good; None: it must be asked for."""
        memory = self._memory.get(name)
        if memory is None or memory.use_until < time.monotonic():
            return None
        return memory.answer

    def ask(self, name: str, tell: Tell) -> None:
        """Look the name up; `tell` is called with the answer, on another thread."""
        with self._lock:
            others = self._waiting.get(name)
            if others is not None:
                others.append(tell)
                return
            is_full = len(self._waiting) >= _UNDER_WAY
            if not is_full:
                self._waiting[name] = [tell]
                self._begin(name)
        if is_full:
            tell(Answer((), "Too many host names are being looked up."))

    def give_up(self, name: str) -> Answer:
        """Remember for a moment that the name's servers do not answer."""
        answer = Answer((), "No name server answered in time.")
        with self._lock:
            if name in self._waiting:
                self._remember(name, answer, lane="slow")
        return answer

    def _begin(self, name: str) -> None:
        memory = self._memory.get(name)
        lane = memory.lane if memory is not None else "new"
        self._lanes[lane].put(name)
        if self._threads[lane] < _THREADS[lane]:
            self._threads[lane] += 1
            threading.Thread(
                target=self._work, args=(lane,), name=f"dns-{lane}", daemon=True
            ).start()

    def _work(self, lane: str) -> None:
        while True:
            name = self._lanes[lane].get()
            started = time.monotonic()
            answer = self._answer(name)
            is_slow = time.monotonic() - started > _SLOW_S
            for tell in self._keep(name, answer, is_slow=is_slow):
                tell(answer)

    def _answer(self, name: str) -> Answer:
        try:
            found = self._ask(name)
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            return Answer((), f"The host name was not found: {why}.")
        if not found:
            return Answer((), "The host name has no address.")
        if len(found) > _ADDRESSES:
            return Answer((), f"The host name has more than {_ADDRESSES} addresses.")
        return Answer(tuple(found))

    def _keep(self, name: str, answer: Answer, *, is_slow: bool) -> list[Tell]:
        """Remember the answer; return who waits for it."""
        lane = "slow" if is_slow or answer.error else "found"
        with self._lock:
            self._remember(name, answer, lane=lane)
            return self._waiting.pop(name)

    def _remember(self, name: str, answer: Answer, *, lane: str) -> None:
        keep_s = NOT_FOUND_FOR_S if answer.error else FOUND_FOR_S
        self._memory[name] = _Memory(answer, time.monotonic() + keep_s, lane)
        self._memory.move_to_end(name)
        if len(self._memory) > _NAMES:
            self._memory.popitem(last=False)


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
