"""Requests that wait for their host's addresses, and how the answers come back."""

import socket
from collections import defaultdict
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, NamedTuple, TypeVar

from django.conf import settings

from subscriptions.http.addresses import Target
from subscriptions.http.outcomes import Request
from subscriptions.http.resolving import Answer, Resolver

Token = TypeVar("Token")


class Asked(NamedTuple, Generic[Token]):
    """A request, and since when it waits."""

    request: Request
    token: Token
    target: Target
    started: float


class LookUps(Generic[Token]):
    """Look-ups under way for one driver; `bell` is readable when one has ended."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        #: By how long they wait at most: the oldest first, as they were asked for.
        self._waiting: defaultdict[float, dict[int, Asked[Token]]] = defaultdict(dict)
        self._ticket = 0
        self._answers: SimpleQueue[tuple[float, int, Answer]] = SimpleQueue()
        self.bell, self._ringer = socket.socketpair()
        self.bell.setblocking(False)
        self._ringer.setblocking(False)

    def __len__(self) -> int:
        """Return how many requests wait."""
        return sum(map(len, self._waiting.values()))

    def ask(self, asked: Asked[Token]) -> None:
        """Look the request's host up; `ended` returns it with the answer."""
        self._ticket += 1
        ticket = self._ticket
        host = asked.target.host
        wait_s = min(self._resolver.wait_s(host), settings.DELIVERY_TIMEOUT_S)
        self._waiting[wait_s][ticket] = asked

        def tell(answer: Answer) -> None:
            self._answers.put((wait_s, ticket, answer))
            # It rings already, or the driver was closed meanwhile.
            with suppress(OSError):
                self._ringer.send(b"\0")

        self._resolver.ask(host, tell)

    def hush(self) -> None:
        """Have the bell rung anew for the next answer."""
        with suppress(BlockingIOError):
            self.bell.recv(4096)

    def due_at(self) -> float | None:
        """Return when the first of them has waited long enough."""
        firsts = (
            next(iter(waiting.values())).started + wait_s
            for wait_s, waiting in self._waiting.items()
            if waiting
        )
        return min(firsts, default=None)

    def ended(self, now: float) -> list[tuple[Asked[Token], Answer]]:
        """Return the requests whose wait is over, with what came of it."""
        ended: list[tuple[Asked[Token], Answer]] = []
        with suppress(Empty):
            while True:
                wait_s, ticket, answer = self._answers.get_nowait()
                asked = self._waiting[wait_s].pop(ticket, None)
                if asked is not None:
                    ended.append((asked, answer))
        for wait_s in self._waiting:
            ended += self._overdue(wait_s, now)
        return ended

    def _overdue(self, wait_s: float, now: float) -> list[tuple[Asked[Token], Answer]]:
        waiting = self._waiting[wait_s]
        late: list[int] = []
        for ticket, asked in waiting.items():
            if asked.started + wait_s > now:
                break
            late.append(ticket)
        none = Answer((), f"No name server answered within {wait_s:g} s.")
        ended = [waiting.pop(ticket) for ticket in late]
        return [
            (asked, self._resolver.last_found(asked.target.host) or none)
            for asked in ended
        ]

    def close(self) -> None:
        """Wait for no answer any more."""
        self._waiting.clear()
        self.bell.close()
        self._ringer.close()
