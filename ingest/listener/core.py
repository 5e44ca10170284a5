"""
What the listener does with a request, whatever brought it.

In this order: method and path, size, source, signature, content type, envelope,
ledger. What is cheap and needs no secret comes first; nothing is parsed before its
signature was verified. Source: docs/reference/listener.md
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from secrets import token_bytes
from time import time
from typing import Protocol

from django.conf import settings
from msgspec import UNSET
from prometheus_client import CONTENT_TYPE_LATEST

from ingest.formats.envelope import (
    TRANSACTION_ID_LIMIT,
    Envelope,
    EnvelopeInvalid,
    read_envelope,
)
from ingest.listener import metrics, replies
from ingest.listener.ledger import Entry, Ledger, Outcome, Verdict
from ingest.listener.refusals import RefusalLog
from ingest.listener.replies import Reply, refusal
from ingest.listener.sources import KnownSource, SourceDirectory, SourcesUnavailable
from ingest.models import Scheme
from tenants import signing

PREFIX = "/v1/callbacks/"
#: Seconds a sender has for its body.
BODY_TIMEOUT_S = 10.0
#: A declared body up to this size is read in one piece.
ONE_PIECE_BYTES = 64 * 1024
#: Seconds for which the answer of `/readyz` is kept.
READY_AGE_S = 1.0
JSON_TYPE = "application/json"
#: Stands in for an unknown source's key, so that its refusal takes as long.
_DUMMY_KEYS = [token_bytes(32)]
_HUB_HEADERS = ("x-hub-signature-256", "x-hub-signature")
_WANTED = frozenset(
    {
        "content-length",
        "content-type",
        "content-encoding",
        "x-hub-signature-256",
        "x-hub-signature",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    }
)


class BodyBroken(Exception):
    """The sender went away, or its framing is wrong."""


class Request(Protocol):
    """What a transport brings."""

    @property
    def method(self) -> str:
        """The method, in upper case."""

    @property
    def path(self) -> str:
        """The path, decoded, without the query."""

    @property
    def client(self) -> str:
        """The other end of the socket."""

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """The headers, names in lower case, repeated ones repeated."""

    async def read(self) -> bytes:
        """Return the whole body. Raises: BodyBroken."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Return the body piece by piece. Raises: BodyBroken."""


#: By name; None: it came more than once.
Headers = dict[str, str | None]
_REFUSED_OUTCOMES = {
    Verdict.CONFLICT: replies.CONFLICT,
    Verdict.OVERLOADED: replies.OVERLOADED,
    Verdict.UNAVAILABLE: replies.UNAVAILABLE,
}


class _Refused(Exception):
    """Ends a request early, with this reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.code)
        self.reply = reply


class Listener:
    """Receives callbacks in one process."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.sources = SourceDirectory()
        self._refusals = RefusalLog()
        self._body_limit = settings.BODY_LIMIT_BYTES
        self._held_limit = settings.LISTENER_INFLIGHT_BYTES
        self._deadline_s = settings.LISTENER_DEADLINE_S
        self._held_bytes = 0
        #: Who reads a body, and until when it may.
        self._reading: dict[asyncio.Task[object], float] = {}
        self._late: set[asyncio.Task[object]] = set()
        self._ready: tuple[float, bool] = (0.0, False)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; call it in the event loop that brings the requests."""
        self.ledger.start()
        self.sources.start()
        self._tasks = [asyncio.create_task(self._end_late_bodies(), name="bodies")]

    async def close(self) -> None:
        """Answer who waits, then end."""
        await self.ledger.close()
        await self.sources.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def receive(self, request: Request) -> Reply:
        """Return the reply; every refusal leaves a line in the log."""
        path = request.path
        try:
            if not path.startswith(PREFIX):
                return await self._probe(request)
            reply = await self._callback(request, path[len(PREFIX) :])
        except _Refused as refused:
            reply = refused.reply
        metrics.count_reply(reply.status, reply.code)
        return self._logged(request, reply) if reply.is_refusal else reply

    def _logged(self, request: Request, reply: Reply) -> Reply:
        request_id = self._refusals.write(
            code=reply.code,
            status=reply.status,
            path=request.path,
            client=request.client,
        )
        return reply._replace(headers=[*reply.headers, ("x-request-id", request_id)])

    async def _callback(self, request: Request, source_text: str) -> Reply:
        if not source_text or "/" in source_text:
            return replies.NOT_FOUND
        if request.method != "POST":
            return replies.METHOD_NOT_ALLOWED
        headers = _pick(request.headers)
        body = await self._read(request, _declared_size(headers))
        try:
            return await self._judge(source_text, headers, body)
        finally:
            self._held_bytes -= len(body)

    async def _read(self, request: Request, declared: int | None) -> bytes:
        """Return the body, which counts as held from now on."""
        self._check_room(declared or 0, held=self._held_bytes + (declared or 0))
        task = _current_task()
        self._reading[task] = asyncio.get_running_loop().time() + BODY_TIMEOUT_S
        try:
            if declared is None or declared > ONE_PIECE_BYTES:
                return await self._collect(request)
            body = await request.read()
        except BodyBroken:
            raise _Refused(replies.BODY_BROKEN) from None
        except asyncio.CancelledError:
            if task not in self._late:
                raise
            self._late.discard(task)
            task.uncancel()
            raise _Refused(replies.BODY_TIMEOUT) from None
        finally:
            del self._reading[task]
        self._held_bytes += len(body)
        return body

    async def _collect(self, request: Request) -> bytes:
        """Return a body of unknown or large size; stop where it is too much."""
        pieces: list[bytes] = []
        size = 0
        try:
            async for piece in request.chunks():
                pieces.append(piece)
                size += len(piece)
                self._held_bytes += len(piece)
                self._check_room(size, held=self._held_bytes)
        except BaseException:
            self._held_bytes -= size
            raise
        return b"".join(pieces)

    def _check_room(self, size: int, *, held: int) -> None:
        if size > self._body_limit:
            raise _Refused(replies.BODY_TOO_LARGE)
        if held > self._held_limit or self.ledger.is_full:
            raise _Refused(replies.OVERLOADED)

    async def _end_late_bodies(self) -> None:
        """Cancel the reading of bodies whose time is over: one timer for all."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1)
            metrics.HELD_BYTES.set(self._held_bytes)
            now = loop.time()
            for task, ends_at in self._reading.items():
                if ends_at <= now and task not in self._late:
                    self._late.add(task)
                    task.cancel()

    async def _judge(self, source_text: str, headers: Headers, body: bytes) -> Reply:
        """Verify, then parse, then store."""
        deadline_at = asyncio.get_running_loop().time() + self._deadline_s
        source = await self._source(source_text)
        if not _is_signed(source, headers, body, now_s=time()) or source is None:
            return replies.SIGNATURE_INVALID
        if "content-encoding" in headers:
            return replies.CONTENT_ENCODING
        if not _is_json(headers.get("content-type")):
            return replies.MEDIA_TYPE
        try:
            envelope = read_envelope(body)
        except EnvelopeInvalid as error:
            return refusal(error.code, str(error))
        entry = Entry(
            tenant_id=source.tenant_id,
            source_id=source.id,
            transaction_id=_transaction_id(source, headers, envelope),
            digest=sha256(body).digest(),
            content_type=JSON_TYPE,
            body=body,
            deadline_at=deadline_at,
        )
        return _answer(entry, await self.ledger.record(entry))

    async def _source(self, text: str) -> KnownSource | None:
        try:
            return await self.sources.find(text)
        except SourcesUnavailable:
            raise _Refused(replies.UNAVAILABLE) from None

    async def _probe(self, request: Request) -> Reply:
        if request.path not in {"/healthz", "/readyz", "/metrics"}:
            raise _Refused(replies.NOT_FOUND)
        if request.method not in {"GET", "HEAD"}:
            raise _Refused(replies.PROBE_METHOD_NOT_ALLOWED)
        if request.path == "/healthz":
            return replies.plain(b'{"status":"ok"}')
        if request.path == "/metrics":
            return replies.plain(metrics.exposition(), content_type=CONTENT_TYPE_LATEST)
        if await self._is_ready():
            return replies.plain(b'{"status":"ready"}')
        return replies.plain(b'{"status":"not ready"}', status=503)

    async def _is_ready(self) -> bool:
        """Tell whether a callback would be taken now."""
        if self.ledger.is_away or self.ledger.is_full:
            return False
        now = asyncio.get_running_loop().time()
        asked_at, answer = self._ready
        if now - asked_at > READY_AGE_S:
            answer = await self.sources.ping()
            self._ready = (now, answer)
        return answer


def _current_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("Requests are received in a task.")
    return task


def _pick(headers: Sequence[tuple[str, str]]) -> Headers:
    picked: Headers = {}
    for name, value in headers:
        if name in _WANTED:
            picked[name] = None if name in picked else value
    return picked


def _declared_size(headers: Headers) -> int | None:
    """Return the declared size; None: none, the body comes in chunks."""
    text = headers.get("content-length")
    return int(text) if text and text.isascii() and text.isdigit() else None


def _is_json(content_type: str | None) -> bool:
    if content_type == JSON_TYPE:
        return True
    return (content_type or "").partition(";")[0].strip().lower() == JSON_TYPE


def _is_signed(
    source: KnownSource | None, headers: Headers, body: bytes, *, now_s: float
) -> bool:
    """Tell whether the source signed this; takes as long when there is no source."""
    keys = source.keys_at(now_s) if source is not None else []
    is_standard = (
        source.scheme == Scheme.STANDARD
        if source is not None
        else "webhook-signature" in headers
    )
    verify = _verify_standard if is_standard else _verify_hub
    return verify(keys or _DUMMY_KEYS, headers, body, now_s) and bool(keys)


def _verify_hub(keys: list[bytes], headers: Headers, body: bytes, now_s: float) -> bool:
    given = [headers[name] for name in _HUB_HEADERS if name in headers]
    if len(given) != 1 or given[0] is None:
        return False
    return signing.verify_hub(keys, given[0], body)


def _verify_standard(
    keys: list[bytes], headers: Headers, body: bytes, now_s: float
) -> bool:
    identifier = headers.get("webhook-id")
    timestamp = headers.get("webhook-timestamp")
    signature = headers.get("webhook-signature")
    if identifier is None or timestamp is None or signature is None:
        return False
    return signing.verify_standard(
        keys,
        message_id=identifier,
        timestamp=timestamp,
        header=signature,
        body=body,
        now_s=now_s,
    )


def _transaction_id(source: KnownSource, headers: Headers, envelope: Envelope) -> str:
    stated = envelope.transaction_id
    if source.scheme != Scheme.STANDARD:
        if stated is UNSET:
            raise _Refused(replies.MISSING_TRANSACTION_ID)
        return stated
    identifier = headers["webhook-id"] or ""
    if not 1 <= len(identifier) <= TRANSACTION_ID_LIMIT:
        raise _Refused(replies.INVALID_TRANSACTION_ID)
    if stated is not UNSET and stated != identifier:
        raise _Refused(replies.TRANSACTION_ID_MISMATCH)
    return identifier


def _answer(entry: Entry, outcome: Outcome) -> Reply:
    if outcome.receipt is None:
        return _REFUSED_OUTCOMES[outcome.verdict]
    if outcome.verdict is Verdict.ACCEPTED:
        return replies.accepted(outcome.receipt, entry.transaction_id)
    return replies.duplicate(outcome.receipt, entry.transaction_id)
