"""Many requests at once on one thread: libcurl names sockets, a selector watches."""

import selectors
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Generic, Self, TypeVar

import pycurl
from django.conf import settings

from subscriptions.http.addresses import AddressNotAllowed, UrlInvalid, judge, parse
from subscriptions.http.lookups import Asked, LookUps
from subscriptions.http.outcomes import Outcome, Request, unsent
from subscriptions.http.resolving import Answer, Resolver, shared
from subscriptions.http.transfers import Kind, Transfer
from subscriptions.http.trust import BundleMissing

#: Open connections that wait for their next request.
IDLE_CONNECTIONS = 256
_EVENTS = {
    pycurl.POLL_IN: selectors.EVENT_READ,
    pycurl.POLL_OUT: selectors.EVENT_WRITE,
    pycurl.POLL_INOUT: selectors.EVENT_READ | selectors.EVENT_WRITE,
}
_ACTIONS = {
    selectors.EVENT_READ: pycurl.CSELECT_IN,
    selectors.EVENT_WRITE: pycurl.CSELECT_OUT,
    selectors.EVENT_READ | selectors.EVENT_WRITE: pycurl.CSELECT_IN
    | pycurl.CSELECT_OUT,
}

Token = TypeVar("Token")


class Driver(Generic[Token]):
    """
    Sends many requests at once, on the thread that calls it.

    `add` what is to be sent, under a token of the caller's; `step` moves all of them on
    and returns those that have ended. Connections are kept and used again.
    """

    def __init__(self, resolver: Resolver | None = None) -> None:
        self._resolver = resolver or shared()
        self._lookups: LookUps[Token] = LookUps(self._resolver)
        self._multi = pycurl.CurlMulti()
        self._selector = selectors.DefaultSelector()
        self._transfers: dict[pycurl.Curl, tuple[Transfer, Token]] = {}
        #: Handles by what is never taken off them.
        self._spare: defaultdict[Kind, list[Transfer]] = defaultdict(list)
        self._watched: set[int] = set()
        self._timer_at: float | None = None
        self._unsent: list[tuple[Token, Outcome]] = []
        self._selector.register(self._lookups.bell, selectors.EVENT_READ)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, IDLE_CONNECTIONS)

    def __len__(self) -> int:
        """Return how many requests are on their way."""
        return len(self._transfers) + len(self._lookups) + len(self._unsent)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *reason: object) -> None:
        """Close every connection; what is on its way is given up."""
        for curl, (transfer, _) in self._transfers.items():
            self._multi.remove_handle(curl)
            transfer.close()
        for spare in self._spare.values():
            for transfer in spare:
                transfer.close()
        self._transfers.clear()
        self._spare.clear()
        self._multi.close()
        self._lookups.close()
        self._selector.close()

    def add(self, request: Request, token: Token) -> None:
        """Begin to send; what cannot be sent at all ends with the next step."""
        started = time.monotonic()
        try:
            target = parse(request.url)
        except UrlInvalid as error:
            self._refuse(token, "url_invalid", error, started)
            return
        asked = Asked(request, token, target, started)
        if target.address:
            self._begin(asked, Answer((target.address,)))
            return
        answer = self._resolver.known(target.host)
        if answer is None:
            self._lookups.ask(asked)
        else:
            self._begin(asked, answer)

    def _begin(self, asked: Asked[Token], answer: Answer) -> None:
        """Send to where the host is, if all of it may be dialled."""
        _, token, target, started = asked
        if answer.error:
            self._refuse(token, "dns_error", answer.error, started)
            return
        try:
            judge(target, answer.addresses, settings.CALLBACK_ALLOW_CIDRS)
            self._send(asked, answer.addresses)
        except AddressNotAllowed as error:
            self._refuse(token, "address_not_allowed", error, started)
        except UrlInvalid as error:
            self._refuse(token, "url_invalid", error, started)
        except BundleMissing as error:
            self._refuse(token, "tls_error", error, started)
        except (pycurl.error, ValueError, TypeError) as error:
            self._refuse(token, "request_invalid", error, started)

    def _send(self, asked: Asked[Token], addresses: tuple[str, ...]) -> None:
        request, token, target, started = asked
        kind = Kind(request.certificate, is_pinned=not target.address)
        spare = self._spare[kind]
        transfer = spare.pop() if spare else Transfer(kind)
        try:
            transfer.begin(request, target, addresses, started)
        except Exception:
            transfer.close()
            raise
        self._transfers[transfer.curl] = (transfer, token)
        self._multi.add_handle(transfer.curl)

    def _refuse(
        self, token: Token, error: str, why: Exception | str, started: float
    ) -> None:
        self._unsent.append((token, unsent(error, str(why), started=started)))

    def step(self, wait_s: float) -> list[tuple[Token, Outcome]]:
        """Move on for at most `wait_s`; return what has ended."""
        wait_s = 0 if self._unsent else self._wait_s(wait_s)
        for key, events in self._selector.select(wait_s):
            if key.fileobj is self._lookups.bell:
                self._lookups.hush()
            else:
                self._multi.socket_action(key.fd, _ACTIONS[events])
        now = time.monotonic()
        if len(self._lookups):
            for asked, answer in self._lookups.ended(now):
                self._begin(asked, answer)
        if self._timer_at is not None and now >= self._timer_at:
            self._timer_at = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        return self._ended()

    def _wait_s(self, wait_s: float) -> float:
        """Return how long nothing is to be done, `wait_s` at most."""
        if self._timer_at is None and not len(self._lookups):
            return wait_s
        times = (self._timer_at, self._lookups.due_at())
        first = min(at for at in times if at is not None)
        return min(wait_s, max(first - time.monotonic(), 0))

    def _ended(self) -> list[tuple[Token, Outcome]]:
        ended, self._unsent = self._unsent, []
        queued = 1
        while queued:
            queued, done, failed = self._multi.info_read()
            results = [(curl, 0, "") for curl in done] + failed
            ended.extend(self._finish(*result) for result in results)
        return ended

    def _finish(
        self, curl: pycurl.Curl, code: int, message: str
    ) -> tuple[Token, Outcome]:
        transfer, token = self._transfers.pop(curl)
        self._multi.remove_handle(curl)
        outcome = transfer.end(code, message)
        self._spare[transfer.kind].append(transfer)
        return token, outcome

    def _watch(self, what: int, fd: int, multi: Any, data: Any) -> None:
        is_watched = fd in self._watched
        if what == pycurl.POLL_REMOVE:
            if is_watched:
                self._watched.remove(fd)
                self._selector.unregister(fd)
        elif is_watched:
            self._selector.modify(fd, _EVENTS[what])
        else:
            self._watched.add(fd)
            self._selector.register(fd, _EVENTS[what])

    def _set_timer(self, after_ms: int) -> None:
        self._timer_at = None if after_ms < 0 else time.monotonic() + after_ms / 1000


def send_all(
    requests: Sequence[Request], resolver: Resolver | None = None
) -> list[Outcome]:
    """Send all of these at once; return what came of each, in their order."""
    outcomes: dict[int, Outcome] = {}
    with Driver[int](resolver) as driver:
        for number, request in enumerate(requests):
            driver.add(request, number)
        while len(driver):
            outcomes.update(driver.step(1.0))
    return [outcomes[number] for number in range(len(requests))]
