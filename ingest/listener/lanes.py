"""Connections to Postgres that never hang: each statement has an end in time."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from psycopg import AsyncConnection, AsyncCursor, OperationalError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg.types.numeric import Int8BinaryDumper

from tenants.database import pipeline_conninfo

CONNECT_TIMEOUT_S = 2
#: Pauses between tries to reach Postgres; the last one repeats.
RECONNECT_PAUSES_S = (0.0, 0.1, 0.25, 0.5, 1.0)
#: What `synchronous_commit` says when a commit returns after its flush.
DURABLE = frozenset({"on", "remote_write", "remote_apply"})


#: What decides whether a commit lasts. Postgres takes up new settings between two
#: statements, so what a statement reads is in force for its commit.
COMMIT_SETTINGS = """ARRAY[current_setting('synchronous_commit'),
    current_setting('fsync'), current_setting('full_page_writes')]"""


class UnsafeCommit(Exception):
    """Postgres would call commits done that a crash can lose."""


class Lane:
    """One connection in the pipeline's role, opened anew after it was lost."""

    def __init__(self, name: str, *, statement_timeout_s: float) -> None:
        self._name = f"gridhook-listener-{name}"
        self._timeout_s = statement_timeout_s
        self._connection: AsyncConnection[TupleRow] | None = None
        self._opening = asyncio.Lock()

    @property
    def connection(self) -> AsyncConnection[TupleRow] | None:
        """The connection; None: there is none now."""
        connection = self._connection
        return None if connection is None or connection.closed else connection

    async def open(self) -> AsyncConnection[TupleRow]:
        """
        Return the connection, made where there is none.

        Raises: OperationalError: Postgres is away. UnsafeCommit.
        """
        async with self._opening:
            return self.connection or await self._connect()

    async def _connect(self) -> AsyncConnection[TupleRow]:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                connection = await AsyncConnection.connect(
                    self._conninfo(), autocommit=True
                )
        except TimeoutError:
            raise OperationalError("Postgres does not answer.") from None
        # Every whole number travels as bigint, so that one statement is prepared once.
        connection.adapters.register_dumper(int, Int8BinaryDumper)
        self._connection = connection
        try:
            await self._require_durable()
        except BaseException:
            await self.close()
            raise
        return connection

    def _conninfo(self) -> str:
        """Return the address; the server's own limits come before the socket is cut."""
        conninfo = pipeline_conninfo(self._name)
        limit_ms = int(self._timeout_s * 800)
        options = (
            f"{conninfo_to_dict(conninfo).get('options', '')} "
            f"-c statement_timeout={limit_ms} -c lock_timeout={limit_ms // 2}"
        )
        return make_conninfo(
            conninfo, options=options, connect_timeout=CONNECT_TIMEOUT_S
        )

    async def _require_durable(self) -> None:
        cursor = await self.execute(f"SELECT {COMMIT_SETTINGS}")
        row = await cursor.fetchone()
        require_durable(row[0] if row else ["", "", ""])

    async def execute(
        self, statement: str, parameters: Sequence[Any] = ()
    ) -> AsyncCursor[TupleRow]:
        """
        Run one statement; the socket is cut when no answer comes in time.

        Raises: psycopg.Error; OperationalError when the connection is gone.
        """
        connection = self.connection
        if connection is None:
            raise OperationalError("Postgres is away.")
        loop = asyncio.get_running_loop()
        end = loop.call_later(self._timeout_s, _cut, connection)
        try:
            cursor = connection.cursor(binary=True)
            return await cursor.execute(statement, parameters, prepare=True)
        finally:
            end.cancel()

    async def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def require_durable(commit_settings: Sequence[str]) -> None:
    """
    Check what COMMIT_SETTINGS said.

    Raises: UnsafeCommit: a commit under these settings may be lost.
    """
    commit, fsync, pages = commit_settings
    is_durable = commit in DURABLE and fsync == "on" and pages == "on"
    if not is_durable and not settings.ALLOW_UNSAFE_COMMIT:
        raise UnsafeCommit(
            f"Not serving: synchronous_commit={commit}, fsync={fsync}, "
            f"full_page_writes={pages}. A crash of PostgreSQL could lose callbacks "
            f"that were acknowledged. Set all three to on."
        )


def _cut(connection: AsyncConnection[TupleRow]) -> None:
    """Shut the socket, so that whoever waits for the server sees the connection end."""
    with contextlib.suppress(OSError, OperationalError):
        copy = socket.socket(fileno=os.dup(connection.fileno()))
        with copy:
            copy.shutdown(socket.SHUT_RDWR)
