"""Requests that wait for their host's addresses, and how the answers come back."""

import socket
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, NamedTuple, TypeVar

from django.conf import settings

from subscriptions.addresses import Target
from subscriptions.http.outcomes import Request
from subscriptions.resolving import DEADLINE_S, Answer, Resolver

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
        self._waiting: dict[int, Asked[Token]] = {}
        self._ticket = 0
        self._answers: SimpleQueue[tuple[int, Answer]] = SimpleQueue()
        self.bell, self._ringer = socket.socketpair()
        self.bell.setblocking(False)
        self._ringer.setblocking(False)

    def __len__(self) -> int:
        """Return how many requests wait."""
        return len(self._waiting)

    def ask(self, asked: Asked[Token]) -> None:
        """Look the request's host up; `ended` returns it with the answer."""
        self._ticket += 1
        ticket = self._ticket
        self._waiting[ticket] = asked

        def tell(answer: Answer) -> None:
            self._answers.put((ticket, answer))
            # It rings already, or the driver was closed meanwhile.
            with suppress(OSError):
                self._ringer.send(b"\0")

        self._resolver.ask(asked.target.host, tell)

    def hush(self) -> None:
        """Have the bell rung anew for the next answer."""
        with suppress(BlockingIOError):
            self.bell.recv(4096)

    def due_at(self) -> float | None:
        """Return when the first of them has waited long enough."""
        first = next(iter(self._waiting.values()), None)
        return None if first is None else first.started + self._deadline_s()

    def ended(self, now: float) -> list[tuple[Asked[Token], Answer]]:
        """Return the requests whose wait is over, with what came of it."""
        ended: list[tuple[Asked[Token], Answer]] = []
        with suppress(Empty):
            while True:
                ticket, answer = self._answers.get_nowait()
                asked = self._waiting.pop(ticket, None)
                if asked is not None:
                    ended.append((asked, answer))
        return ended + self._overdue(now)

    def _overdue(self, now: float) -> list[tuple[Asked[Token], Answer]]:
        deadline_s = self._deadline_s()
        late: list[int] = []
        # The oldest first: they were asked for in this order.
        for ticket, asked in self._waiting.items():
            if asked.started + deadline_s > now:
                break
            late.append(ticket)
        none = Answer((), f"No name server answered within {deadline_s:g} s.")
        return [(self._waiting.pop(ticket), none) for ticket in late]

    def _deadline_s(self) -> float:
        return min(DEADLINE_S, settings.DELIVERY_TIMEOUT_S)

    def close(self) -> None:
        """Wait for no answer any more."""
        self._waiting.clear()
        self.bell.close()
        self._ringer.close()
