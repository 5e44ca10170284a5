"""
The sources that a listener knows: bounded, at most seconds old, told of each change.

Postgres announces a changed source on a channel (NOTIFY, in the transaction of the
change), with the change's number. The number is asked for besides, on another
connection, twice a second: one that was not announced means that an announcement was
lost, and all is asked anew. Misses that gather while one query runs are asked
together, so that guessed ids cannot crowd out the database.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from django.conf import settings

from ingest.listener import metrics
from ingest.listener.lanes import RECONNECT_PAUSES_S, Lane, UnsafeCommit
from ingest.listener.rate_store import Limit, Limits
from ingest.models import Scheme
from ingest.services.sources import CHANNEL
from tenants import signing, vault
from tenants.addresses import Networks
from tenants.identifiers import IdentifierInvalid, parse_public_id, public_id

log = logging.getLogger(__name__)

#: A source, or an unknown id, is asked for anew after this long.
AGE_LIMIT_S = 10.0
KNOWN_LIMIT = 20_000
UNKNOWN_LIMIT = 10_000
#: Revoked devices in memory, over all sources.
REVOKED_LIMIT = 200_000
#: Ids in one query.
LOOKUP_LIMIT = 500
#: Seconds between looks whether the announcing connection is alive.
LISTEN_CHECK_S = 3.0
#: Seconds between looks at the number of changes, and how long one may stay unheard.
POLL_S = 0.5
GRACE_S = 0.2
_STATEMENT_TIMEOUT_S = 2.0
_FOREVER = float("inf")

VERSION = "SELECT version FROM ingest_sourceversion"
LOOKUP = """
SELECT s.id, s.tenant_id, s.scheme, s.allowed_cidrs, s.rate_limit_per_s,
    t.rate_limit_per_s, s.device_keys, k.sealed, k.ends_at,
    CASE WHEN s.device_keys THEN ARRAY(
        SELECT r.device FROM ingest_revokeddevice r
        WHERE r.tenant_id = s.tenant_id AND r.source_id = s.id
    ) END
FROM ingest_source s
JOIN tenants_tenant t ON t.id = s.tenant_id
CROSS JOIN LATERAL (
    SELECT array_agg(k.sealed ORDER BY k.id) AS sealed,
        array_agg(extract(epoch FROM k.expires_at)::float8 ORDER BY k.id) AS ends_at
    FROM ingest_sourcesecret k
    WHERE k.tenant_id = s.tenant_id AND k.source_id = s.id
        AND (k.expires_at IS NULL OR k.expires_at > now())
) k
WHERE s.id = ANY(%s::uuid[]) AND s.enabled
"""


class SourcesUnavailable(Exception):
    """Postgres did not say in time whether there is such a source."""


@dataclass(slots=True)
class KnownSource:
    """An enabled source: whose it is, who may post, and the keys it signs with."""

    id: UUID
    tenant_id: int
    scheme: str
    #: Each with the moment it ends, in seconds of the epoch.
    keys: list[tuple[bytes, float]] = field(default_factory=list)
    #: Who may post; None: anybody.
    networks: Networks | None = None
    limits: Limits = ()
    #: Whether each device signs with its own key, and which ones no longer may.
    device_keys: bool = False
    revoked: frozenset[str] = frozenset()
    _current: list[bytes] = field(default_factory=list)
    _current_until_s: float = 0.0

    def keys_at(self, now_s: float) -> list[bytes]:
        """Return the keys in force."""
        if now_s >= self._current_until_s:
            alive = [(key, ends_at) for key, ends_at in self.keys if ends_at > now_s]
            self._current = [key for key, _ in alive]
            self._current_until_s = min(
                (ends_at for _, ends_at in alive), default=_FOREVER
            )
        return self._current


class SourceDirectory:
    """Finds sources by id, from memory or from Postgres."""

    def __init__(self) -> None:
        self._lookups = Lane("sources", statement_timeout_s=_STATEMENT_TIMEOUT_S)
        self._announcements = Lane("news", statement_timeout_s=_STATEMENT_TIMEOUT_S)
        #: By public id, with the moment until which it is believed.
        self._known: dict[str, tuple[float, KnownSource]] = {}
        self._unknown: dict[str, float] = {}
        self._wanted: dict[UUID, asyncio.Future[KnownSource | None]] = {}
        self._wake = asyncio.Event()
        #: Counts invalidations: what was read before the last one is not kept.
        self._changes = 0
        #: The number of the newest change that was heard of.
        self._version = 0
        self._revoked = 0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to look up, and to hear of changes."""
        self._tasks = [
            asyncio.create_task(self._answer(), name="sources"),
            asyncio.create_task(self._hear(), name="sources-news"),
            asyncio.create_task(self._poll(), name="sources-poll"),
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
            metrics.SOURCES.hits += 1
            return held[1]
        if self._unknown.get(text, 0.0) > now:
            metrics.SOURCES.hits += 1
            return None
        try:
            source_id = parse_public_id("src", text)
        except IdentifierInvalid:
            return None
        metrics.SOURCES.misses += 1
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
        until = asyncio.get_running_loop().time() + AGE_LIMIT_S
        if len(self._unknown) > UNKNOWN_LIMIT:
            self._unknown.clear()
        for source_id in ids:
            text = public_id("src", source_id)
            self._drop(text)
            if (source := found.get(source_id)) is not None:
                self._known[text] = (until, source)
                self._revoked += len(source.revoked)
                self._unknown.pop(text, None)
            else:
                self._unknown[text] = until
        while len(self._known) > KNOWN_LIMIT or self._revoked > REVOKED_LIMIT:
            self._drop(next(iter(self._known)))
        metrics.SOURCES.size = len(self._known)

    def _drop(self, text: str) -> None:
        held = self._known.pop(text, None)
        if held is not None:
            self._revoked -= len(held[1].revoked)

    def _forget(self, news: str) -> None:
        """Take in an announcement: a source, and the number of its change."""
        source_id, _, version = news.partition(" ")
        try:
            key, number = UUID(source_id), int(version)
        except ValueError:
            self._forget_all()
            return
        if number > self._version + 1:
            self._forget_all()
        self._version = max(number, self._version)
        self._changes += 1
        text = public_id("src", key)
        self._drop(text)
        self._unknown.pop(text, None)

    def _forget_all(self) -> None:
        self._changes += 1
        self._known.clear()
        self._unknown.clear()
        self._revoked = 0

    async def _hear(self) -> None:
        """Listen for ever; after a gap everything is asked anew."""
        attempt = 0
        while True:
            try:
                await self._announcements.open()
                await self._announcements.execute(f"LISTEN {CHANNEL}")
                self._version = await _version(self._announcements)
                self._forget_all()
                attempt = 0
                await self._hear_until_lost()
            except (psycopg.Error, UnsafeCommit):
                pause = RECONNECT_PAUSES_S[min(attempt, len(RECONNECT_PAUSES_S) - 1)]
                attempt += 1
                await asyncio.sleep(pause)
            except Exception:
                # Without this task no change would be heard of until a restart.
                log.exception("Changes of sources cannot be heard")
                await asyncio.sleep(RECONNECT_PAUSES_S[-1])

    async def _hear_until_lost(self) -> None:
        while (connection := self._announcements.connection) is not None:
            async for news in connection.notifies(timeout=LISTEN_CHECK_S):
                self._forget(news.payload)
            # A connection whose other end is frozen or gone says nothing by itself.
            await self._announcements.execute("SELECT 1")

    async def _poll(self) -> None:
        """Look for changes that were announced and not heard of."""
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self._look()
            except (psycopg.Error, UnsafeCommit):
                # Then nothing can be accepted either.
                continue
            except Exception:
                log.exception("Changes of sources cannot be counted")

    async def _look(self) -> None:
        await self._lookups.open()
        version = await _version(self._lookups)
        if version > self._version:
            # It may be under way.
            await asyncio.sleep(GRACE_S)
        if version > self._version:
            self._version = version
            self._forget_all()


async def _version(lane: Lane) -> int:
    cursor = await lane.execute(VERSION)
    row = await cursor.fetchone()
    return row[0] if row else 0


def _assemble(rows: Sequence[tuple[Any, ...]]) -> dict[UUID, KnownSource]:
    return {row[0]: _known(*row) for row in rows}


def _known(  # noqa: PLR0913 (the columns of LOOKUP)
    source_id: UUID,
    tenant_id: int,
    scheme: str,
    cidrs: list[str],
    rate: int | None,
    tenant_rate: int | None,
    device_keys: bool,
    sealed: list[bytes] | None,
    ends_at: list[float | None] | None,
    revoked: list[str] | None,
) -> KnownSource:
    limits = []
    if rate is not None:
        limits.append(Limit("source", f"source:{source_id.hex}", rate))
    if tenant_rate is not None:
        limits.append(Limit("tenant", f"tenant:{tenant_id}", tenant_rate))
    keys = [
        (key, end or _FOREVER)
        for secret, end in zip(sealed or (), ends_at or (), strict=True)
        if (key := _key(source_id, tenant_id, scheme, secret))
    ]
    return KnownSource(
        id=source_id,
        tenant_id=tenant_id,
        scheme=scheme,
        keys=keys,
        networks=_networks(source_id, cidrs) if cidrs else None,
        limits=tuple(limits),
        device_keys=device_keys,
        revoked=frozenset(revoked or ()),
    )


def _networks(source_id: UUID, cidrs: list[str]) -> Networks:
    try:
        return Networks(cidrs)
    except ValueError as error:
        log.error("Source %s may not post from anywhere: %s", source_id, error)  # noqa: TRY400
        return Networks(())


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
