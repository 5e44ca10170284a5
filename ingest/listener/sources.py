"""
The sources that a listener knows: bounded, at most seconds old, told of each change.

Postgres announces a changed source on a channel (NOTIFY, in the transaction of the
change); a lost announcement costs the age limit. Misses that gather while one query
runs are asked together, so that guessed ids cannot crowd out the database.
"""

import asyncio
import logging
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from django.conf import settings

from ingest.listener.lanes import RECONNECT_PAUSES_S, Lane, UnsafeCommit
from ingest.models import Scheme
from tenants import signing, vault
from tenants.identifiers import IdentifierInvalid, parse_public_id, public_id

log = logging.getLogger(__name__)

CHANNEL = "gridhook_sources"
#: A source is asked for anew after this long.
AGE_LIMIT_S = 10.0
#: An unknown id is asked for anew after this long.
UNKNOWN_AGE_LIMIT_S = 2.0
KNOWN_LIMIT = 20_000
UNKNOWN_LIMIT = 10_000
#: Ids in one query.
LOOKUP_LIMIT = 500
#: Seconds between looks whether the announcing connection is alive.
LISTEN_CHECK_S = 3.0
_STATEMENT_TIMEOUT_S = 2.0

LOOKUP = """
SELECT s.id, s.tenant_id, s.scheme, k.sealed, extract(epoch FROM k.expires_at)::float8
FROM ingest_source s
LEFT JOIN ingest_sourcesecret k ON k.tenant_id = s.tenant_id AND k.source_id = s.id
    AND (k.expires_at IS NULL OR k.expires_at > now())
WHERE s.id = ANY(%s::uuid[]) AND s.enabled
"""


class SourcesUnavailable(Exception):
    """Postgres did not say in time whether there is such a source."""


@dataclass(slots=True)
class KnownSource:
    """An enabled source: whose it is, and the keys it signs with."""

    id: UUID
    tenant_id: int
    scheme: str
    #: Each with the moment it ends, in seconds of the epoch.
    keys: list[tuple[bytes, float]] = field(default_factory=list)

    def keys_at(self, now_s: float) -> list[bytes]:
        """Return the keys in force."""
        return [key for key, ends_at in self.keys if ends_at > now_s]


class SourceDirectory:
    """Finds sources by id, from memory or from Postgres."""

    def __init__(self) -> None:
        self._lookups = Lane("sources", statement_timeout_s=_STATEMENT_TIMEOUT_S)
        self._announcements = Lane("news", statement_timeout_s=_STATEMENT_TIMEOUT_S)
        #: By public id, with the moment until which it is believed.
        self._known: dict[str, tuple[float, KnownSource]] = {}
        self._unknown: dict[UUID, float] = {}
        self._wanted: dict[UUID, asyncio.Future[KnownSource | None]] = {}
        self._wake = asyncio.Event()
        #: Counts invalidations: what was read before the last one is not kept.
        self._changes = 0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to look up, and to hear of changes."""
        self._tasks = [
            asyncio.create_task(self._answer(), name="sources"),
            asyncio.create_task(self._hear(), name="sources-news"),
        ]

    async def close(self) -> None:
        """Stop both, and close the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._lookups.close()
        await self._announcements.close()

    async def find(self, text: str) -> KnownSource | None:
        """
        Return the source by its public id; None: there is none, or it is disabled.

        Raises: SourcesUnavailable.
        """
        now = asyncio.get_running_loop().time()
        if (held := self._known.get(text)) is not None and held[0] > now:
            return held[1]
        try:
            source_id = parse_public_id("src", text)
        except IdentifierInvalid:
            return None
        if self._unknown.get(source_id, 0.0) > now:
            return None
        return await self._ask(source_id)

    async def ping(self) -> bool:
        """Tell whether Postgres answers, within two seconds."""
        try:
            await self._lookups.open()
            await self._lookups.execute("SELECT 1")
        except (psycopg.Error, UnsafeCommit):
            return False
        return True

    async def _ask(self, source_id: UUID) -> KnownSource | None:
        answer = self._wanted.get(source_id)
        if answer is None:
            answer = asyncio.get_running_loop().create_future()
            self._wanted[source_id] = answer
            self._wake.set()
        try:
            async with asyncio.timeout(settings.LISTENER_DEADLINE_S / 2):
                return await asyncio.shield(answer)
        except TimeoutError:
            raise SourcesUnavailable from None

    async def _answer(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._wanted:
                ids = list(self._wanted)[:LOOKUP_LIMIT]
                waiting = {source_id: self._wanted.pop(source_id) for source_id in ids}
                try:
                    found = await self._load(ids)
                except (psycopg.Error, UnsafeCommit) as error:
                    log.warning("Sources cannot be read: %s", str(error).strip())
                    _fail(waiting)
                    continue
                except Exception:
                    # Without this task every unknown source would wait for ever.
                    log.exception("Sources cannot be read")
                    _fail(waiting)
                    continue
                for source_id, answer in waiting.items():
                    _resolve(answer, found.get(source_id))

    async def _load(self, ids: list[UUID]) -> dict[UUID, KnownSource]:
        changes = self._changes
        await self._lookups.open()
        cursor = await self._lookups.execute(LOOKUP, [ids])
        found = _assemble(await cursor.fetchall())
        if changes == self._changes:
            self._keep(ids, found)
        return found

    def _keep(self, ids: list[UUID], found: dict[UUID, KnownSource]) -> None:
        now = asyncio.get_running_loop().time()
        if len(self._unknown) > UNKNOWN_LIMIT:
            self._unknown.clear()
        for source_id in ids:
            text = public_id("src", source_id)
            self._known.pop(text, None)
            if (source := found.get(source_id)) is not None:
                self._known[text] = (now + AGE_LIMIT_S, source)
                self._unknown.pop(source_id, None)
            else:
                self._unknown[source_id] = now + UNKNOWN_AGE_LIMIT_S
        while len(self._known) > KNOWN_LIMIT:
            del self._known[next(iter(self._known))]

    def _forget(self, source_id: str) -> None:
        self._changes += 1
        try:
            key = UUID(source_id)
        except ValueError:
            return
        self._known.pop(public_id("src", key), None)
        self._unknown.pop(key, None)

    def _forget_all(self) -> None:
        self._changes += 1
        self._known.clear()
        self._unknown.clear()

    async def _hear(self) -> None:
        """Listen for ever; after a gap everything is asked anew."""
        attempt = 0
        while True:
            try:
                await self._announcements.open()
                await self._announcements.execute(f"LISTEN {CHANNEL}")
                self._forget_all()
                attempt = 0
                await self._hear_until_lost()
            except (psycopg.Error, UnsafeCommit):
                pause = RECONNECT_PAUSES_S[min(attempt, len(RECONNECT_PAUSES_S) - 1)]
                attempt += 1
                await asyncio.sleep(pause)

    async def _hear_until_lost(self) -> None:
        while (connection := self._announcements.connection) is not None:
            async for news in connection.notifies(timeout=LISTEN_CHECK_S):
                self._forget(news.payload)
            # A connection whose other end is frozen or gone says nothing by itself.
            await self._announcements.execute("SELECT 1")


def _assemble(rows: list[Any]) -> dict[UUID, KnownSource]:
    secrets: dict[UUID, list[tuple[bytes, float]]] = defaultdict(list)
    found: dict[UUID, KnownSource] = {}
    for source_id, tenant_id, scheme, sealed, ends_at in rows:
        found[source_id] = KnownSource(source_id, tenant_id, scheme)
        if sealed is not None and (key := _key(source_id, tenant_id, scheme, sealed)):
            secrets[source_id].append((key, ends_at or float("inf")))
    for source_id, source in found.items():
        source.keys = secrets[source_id]
    return found


def _key(source_id: UUID, tenant_id: int, scheme: str, sealed: bytes) -> bytes | None:
    try:
        secret = vault.unseal(sealed, context=f"source:{tenant_id}:{source_id}")
        text = secret.decode()
        return (
            signing.standard_key(text)
            if scheme == Scheme.STANDARD
            else signing.hub_key(text)
        )
    except (vault.SealBroken, ValueError) as error:
        log.error("Source %s has a secret that does not open: %s", source_id, error)  # noqa: TRY400
        return None


def _resolve(
    answer: asyncio.Future[KnownSource | None], source: KnownSource | None
) -> None:
    if not answer.done():
        answer.set_result(source)


def _fail(waiting: dict[UUID, asyncio.Future[KnownSource | None]]) -> None:
    for answer in waiting.values():
        if not answer.done():
            answer.set_exception(SourcesUnavailable())
            # Read, in case that nobody waits any more.
            answer.exception()
