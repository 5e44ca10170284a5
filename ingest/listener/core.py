"""
What the listener does with a request, whatever brought it.

In this order: method and path, size, admission (`admission`: may this sender post?),
intake (`intake`: content type, envelope, ledger). What is cheap and needs no secret
comes first; nothing is parsed before its signature was verified.
Source: docs/reference/listener.md
"""

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO
from time import time

from django.conf import settings

from ingest.listener import metrics, replies
from ingest.listener.admission import Admission
from ingest.listener.intake import Intake
from ingest.listener.ledger import Ledger
from ingest.listener.probes import Probes
from ingest.listener.rates import RateLimiter
from ingest.listener.refusals import RefusalLog
from ingest.listener.replies import Refused, Reply
from ingest.listener.requests import BodyBroken, Headers, Request, pick
from ingest.listener.sources import SourceDirectory

PREFIX = "/v1/callbacks/"
#: Seconds a sender has for its body.
BODY_TIMEOUT_S = 10.0
#: A declared body up to this size is small: read in one piece, and counted when it is
#: there. What is larger counts as it comes.
ONE_PIECE_BYTES = 16 * 1024
#: Of the memory for bodies, the part that others than small ones may take.
LARGE_SHARE = 0.75


class Listener:
    """Receives callbacks in one process."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self._large_ledger = Ledger("large")
        self.sources = SourceDirectory()
        self._limiter = RateLimiter()
        self._admission = Admission(self.sources, self._limiter)
        self._intake = Intake(self.ledger, self._large_ledger)
        self._probes = Probes(self.ledger, self.sources)
        self._refusals = RefusalLog()
        self._body_limit = settings.BODY_LIMIT_BYTES
        self._held_limit = settings.LISTENER_INFLIGHT_BYTES
        self._large_limit = int(self._held_limit * LARGE_SHARE)
        self._deadline_s = settings.LISTENER_DEADLINE_S
        self._held_bytes = 0
        #: Who reads a body, and until when it may.
        self._reading: dict[asyncio.Task[object], float] = {}
        self._late: set[asyncio.Task[object]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; call it in the event loop that brings the requests."""
        self.ledger.start()
        self._large_ledger.start()
        self.sources.start()
        self._limiter.start()
        self._probes.start()
        self._tasks = [asyncio.create_task(self._end_late_bodies(), name="bodies")]

    async def close(self) -> None:
        """Answer who waits, then end."""
        await asyncio.gather(self.ledger.close(), self._large_ledger.close())
        await self.sources.close()
        await self._limiter.close()
        await self._probes.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def receive(self, request: Request) -> Reply:
        """Return the reply; every refusal leaves a line in the log."""
        path = request.path
        try:
            if not path.startswith(PREFIX):
                return await self._probes.answer(request)
            reply = await self._callback(request, path[len(PREFIX) :])
        except Refused as refused:
            reply = refused.reply
        metrics.count_reply(reply.status, reply.code)
        return self._logged(request, reply) if reply.is_refusal else reply

    def _logged(self, request: Request, reply: Reply) -> Reply:
        request_id = self._refusals.write(
            code=reply.code,
            status=reply.status,
            path=request.path,
            client=self._admission.client(request),
            method=request.method,
        )
        return reply._replace(headers=[*reply.headers, ("x-request-id", request_id)])

    async def _callback(self, request: Request, source_text: str) -> Reply:
        if not source_text or "/" in source_text:
            return replies.NOT_FOUND
        if request.method != "POST":
            return replies.METHOD_NOT_ALLOWED
        headers = pick(request.headers)
        body = await self._read(request, _declared_size(headers))
        try:
            return await self._judge(request, source_text, headers, body)
        finally:
            self._held_bytes -= len(body)

    async def _read(self, request: Request, declared: int | None) -> bytes:
        """Return the body, which counts as held from now on."""
        if declared is not None and declared > self._body_limit:
            raise Refused(replies.BODY_TOO_LARGE)
        task = _current_task()
        self._reading[task] = asyncio.get_running_loop().time() + BODY_TIMEOUT_S
        try:
            if declared is None or declared > ONE_PIECE_BYTES:
                return await self._collect(request, declared or 0)
            if self._held_bytes + declared > self._held_limit or self.ledger.is_full:
                raise Refused(replies.OVERLOADED)
            body = await request.read()
        except BodyBroken:
            raise Refused(replies.BODY_BROKEN) from None
        except asyncio.CancelledError:
            if task not in self._late:
                raise
            self._late.discard(task)
            task.uncancel()
            raise Refused(replies.BODY_TIMEOUT) from None
        finally:
            del self._reading[task]
        self._held_bytes += len(body)
        return body

    async def _collect(self, request: Request, declared: int) -> bytes:
        """Return a body of unknown or large size; do not keep what is too much."""
        body = BytesIO()
        pieces = request.chunks()
        try:
            self._check_room(declared)
            async for piece in pieces:
                self._held_bytes += body.write(piece)
                self._check_room(body.tell())
        except Refused as refused:
            self._held_bytes -= body.tell()
            if refused.reply is replies.OVERLOADED:
                size = body.tell()
                body.close()
                await self._pass_over(pieces, size)
            raise
        except BaseException:
            self._held_bytes -= body.tell()
            raise
        # Without a copy: the buffer is cut to its size and given away.
        return body.getvalue()

    def _check_room(self, size: int) -> None:
        if size > self._body_limit:
            raise Refused(replies.BODY_TOO_LARGE)
        if self._held_bytes > self._large_limit or self.ledger.is_full:
            raise Refused(replies.OVERLOADED)

    async def _pass_over(self, pieces: AsyncIterator[bytes], size: int) -> None:
        """Read and forget the rest: most senders look for a reply when all is sent."""
        async for piece in pieces:
            size += len(piece)
            if size > self._body_limit:
                return

    async def _end_late_bodies(self) -> None:
        """Cancel the reading of bodies whose time is over: one timer for all."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1)
            metrics.HELD_BYTES.set(self._held_bytes)
            now = loop.time()
            ledgers = (self.ledger, self._large_ledger)
            metrics.QUEUE_DEPTH.set(sum(ledger.depth for ledger in ledgers))
            metrics.QUEUE_AGE_SECONDS.set(max(ledger.age_at(now) for ledger in ledgers))
            for task, ends_at in self._reading.items():
                if ends_at <= now and task not in self._late:
                    self._late.add(task)
                    task.cancel()

    async def _judge(
        self, request: Request, source_text: str, headers: Headers, body: bytes
    ) -> Reply:
        """Admit the sender, then take what it sent."""
        deadline_at = asyncio.get_running_loop().time() + self._deadline_s
        admitted = await self._admission.admit(
            request, source_text, headers, body, now_s=time()
        )
        reply = await self._intake.take(
            admitted.source,
            headers,
            body,
            deadline_at=deadline_at,
            signed_by=admitted.device,
        )
        return admitted.marked(reply)


def _current_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("Requests are received in a task.")
    return task


def _declared_size(headers: Headers) -> int | None:
    """Return the declared size; None: none, the body comes in chunks."""
    text = headers.get("content-length")
    return int(text) if text and text.isascii() and text.isdigit() else None
