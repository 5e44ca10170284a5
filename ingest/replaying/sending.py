"""
Posting many signed callbacks at once, and again until each has an answer.

A 503, a 429 or a broken connection says nothing about a callback: it is posted again
under the same id, after a pause. What waits for its turn counts as under way, so that
a platform that pushes back slows the sender down.
"""

import heapq
import itertools
import re
import ssl
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec
import pycurl

from ingest.replaying.posting import Posting, Target

#: Seconds without any answer after which the sender gives up as a whole.
PATIENCE_S = 60.0
#: Attempts after which one callback is given up.
ATTEMPTS_LIMIT = 30
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_REQUEST_TIMEOUT_S = 30
_CONNECT_TIMEOUT_S = 5
_POLL_S = 0.05
_OK = 200
_ACCEPTED = 202
_TOO_MANY = 429
_SERVER_ERROR = 500
_RETRY_AFTER = re.compile(rb"retry-after: *(\d{1,4})\s*$", re.IGNORECASE)


class Unreachable(Exception):
    """Nobody answered for too long; the text says what was seen last."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The final answer to a callback."""

    posting: Posting
    status: int
    #: `accepted`, `duplicate`, or the problem's code.
    word: str
    detail: str = ""

    @property
    def is_taken(self) -> bool:
        """Whether the platform has it."""
        return self.status in (_OK, _ACCEPTED)


@dataclass(slots=True, order=True)
class _Attempt:
    """A callback on its way, ordered by when it is due."""

    due_s: float
    number: int
    posting: Posting = field(compare=False)
    count: int = field(default=0, compare=False)


class _Lane:
    """One connection: a libcurl handle that posts one callback after the other."""

    def __init__(self, target: Target, ca_file: str) -> None:
        self.attempt: _Attempt | None = None
        self.pieces: list[bytes] = []
        self.pause_s = 0.0
        self._target = target
        self.handle = handle = pycurl.Curl()
        handle.setopt(pycurl.URL, target.url)
        handle.setopt(pycurl.POST, 1)
        handle.setopt(pycurl.NOSIGNAL, 1)
        handle.setopt(pycurl.TIMEOUT, _REQUEST_TIMEOUT_S)
        handle.setopt(pycurl.CONNECTTIMEOUT, _CONNECT_TIMEOUT_S)
        handle.setopt(pycurl.TCP_NODELAY, 1)
        handle.setopt(pycurl.USERAGENT, "Gridhook-Replay")
        handle.setopt(pycurl.WRITEFUNCTION, self._take)
        handle.setopt(pycurl.HEADERFUNCTION, self._take_header)
        if ca_file:
            handle.setopt(pycurl.CAINFO, ca_file)

    def begin(self, attempt: _Attempt) -> None:
        """Load the handle with one attempt."""
        attempt.count += 1
        self.attempt = attempt
        self.pieces.clear()
        self.pause_s = 0.0
        self.handle.setopt(pycurl.HTTPHEADER, self._target.headers(attempt.posting))
        self.handle.setopt(pycurl.POSTFIELDS, attempt.posting.body)

    def _take(self, piece: bytes) -> None:
        self.pieces.append(piece)

    def _take_header(self, line: bytes) -> None:
        found = _RETRY_AFTER.match(line)
        if found:
            self.pause_s = float(found[1])


class Sender:
    """Posts callbacks over a fixed number of connections, at most so many a second."""

    def __init__(
        self,
        target: Target,
        *,
        concurrency: int = 32,
        rate: float | None = None,
        ca_file: str = "",
        patience_s: float = PATIENCE_S,
    ) -> None:
        #: Attempts that told nothing and were repeated.
        self.retries = 0
        self._interval_s = 1.0 / rate if rate else 0.0
        self._patience_s = patience_s
        self._multi = pycurl.CurlMulti()
        bundle = ca_file or ssl.get_default_verify_paths().cafile or ""
        self._idle = [_Lane(target, bundle) for _ in range(concurrency)]
        self._busy: dict[pycurl.Curl, _Lane] = {}
        self._waiting: list[_Attempt] = []
        self._numbers = itertools.count()
        self._next_start_s = 0.0
        self._answered_at_s = 0.0
        self._exhausted = False

    def send(self, postings: Iterable[Posting | None]) -> Iterator[Outcome]:
        """
        Post every callback; yield each one's answer as it comes.

        `None` among them means: nothing at the moment, ask again.
        Raises: Unreachable: no answer at all for the whole patience.
        """
        source = iter(postings)
        self._answered_at_s = self._next_start_s = time.monotonic()
        self._exhausted = False
        while not (self._exhausted and not self._busy and not self._waiting):
            self._fill(source)
            self._multi.perform()
            yield from self._collect()
            self._wait()

    def _wait(self) -> None:
        """Wait for sockets, or until the next callback may start."""
        until_s = self._next_start_s - time.monotonic()
        pause_s = min(until_s, _POLL_S) if self._idle and until_s > 0 else _POLL_S
        if self._busy:
            self._multi.select(pause_s)
        elif not self._exhausted or self._waiting:
            time.sleep(pause_s)

    def _fill(self, source: Iterator[Posting | None]) -> None:
        while self._idle and (now_s := time.monotonic()) >= self._next_start_s:
            attempt = self._next_attempt(source, now_s)
            if attempt is None:
                return
            lane = self._idle.pop()
            lane.begin(attempt)
            self._busy[lane.handle] = lane
            self._multi.add_handle(lane.handle)
            # A pause that was slept through is not made up for with a burst.
            self._next_start_s = max(self._next_start_s, now_s - 1) + self._interval_s

    def _next_attempt(
        self, source: Iterator[Posting | None], now_s: float
    ) -> _Attempt | None:
        if self._waiting and self._waiting[0].due_s <= now_s:
            return heapq.heappop(self._waiting)
        if self._exhausted or len(self._waiting) >= len(self._idle):
            return None
        try:
            posting = next(source)
        except StopIteration:
            self._exhausted = True
            return None
        if posting is None:
            self._answered_at_s = now_s
            return None
        return _Attempt(now_s, next(self._numbers), posting)

    def _collect(self) -> Iterator[Outcome]:
        left = 1
        while left:
            left, done, failed = self._multi.info_read()
            for handle in done:
                lane, attempt = self._release(handle)
                outcome = _outcome(lane, attempt)
                if outcome is None:
                    self._retry(lane, attempt, f"status {_status(handle)}")
                else:
                    self._answered_at_s = time.monotonic()
                    yield outcome
            for handle, _, reason in failed:
                lane, attempt = self._release(handle)
                self._retry(lane, attempt, reason)

    def _release(self, handle: pycurl.Curl) -> tuple[_Lane, _Attempt]:
        self._multi.remove_handle(handle)
        lane = self._busy.pop(handle)
        attempt = lane.attempt
        if attempt is None:
            raise AssertionError("A busy lane has an attempt.")
        self._idle.append(lane)
        return lane, attempt

    def _retry(self, lane: _Lane, attempt: _Attempt, reason: str) -> None:
        now_s = time.monotonic()
        silent_s = now_s - self._answered_at_s
        if silent_s > self._patience_s or attempt.count >= ATTEMPTS_LIMIT:
            raise Unreachable(
                f"No answer to {attempt.posting.transaction_id!r} after "
                f"{attempt.count} attempts; the last one: {reason}."
            )
        self.retries += 1
        pause_s = min(_FIRST_PAUSE_S * 2 ** (attempt.count - 1), _LONGEST_PAUSE_S)
        attempt.due_s = now_s + max(pause_s, lane.pause_s)
        heapq.heappush(self._waiting, attempt)


def _status(handle: pycurl.Curl) -> int:
    return int(handle.getinfo(pycurl.RESPONSE_CODE))


def _outcome(lane: _Lane, attempt: _Attempt) -> Outcome | None:
    """Return what the reply says; None: it says nothing about the callback."""
    status = _status(lane.handle)
    if status == _TOO_MANY or status >= _SERVER_ERROR:
        return None
    if status in (_OK, _ACCEPTED):
        word = "accepted" if status == _ACCEPTED else "duplicate"
        return Outcome(attempt.posting, status, word)
    problem = _problem(b"".join(lane.pieces))
    return Outcome(
        attempt.posting,
        status,
        str(problem.get("code", f"http_{status}")),
        str(problem.get("detail", "")),
    )


def _problem(body: bytes) -> dict[str, object]:
    try:
        problem = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return problem if isinstance(problem, dict) else {}
