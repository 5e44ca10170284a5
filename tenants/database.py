"""
Which role a piece of code speaks to Postgres with, and for which tenant.

Console and API: `acting_for`, the application's role, one tenant per transaction.
Listener and workers: `pipeline`, a role with the few grants that the lane needs.
Source: docs/explanation/tenancy.md
"""

import atexit
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol

from django.conf import settings
from django.db import connection, transaction
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg.types.numeric import Int8Dumper
from psycopg_pool import ConnectionPool

from tenants.models import Tenant


class Cursor(Protocol):
    """What services need of a cursor: Django's and psycopg's both have it."""

    @property
    def rowcount(self) -> int:
        """The number of rows that the last statement touched."""

    def execute(self, query: Any, params: Any = None) -> Any:
        """Run one statement."""

    def fetchone(self) -> Any:
        """Return the next row."""

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""


def enter_tenant(tenant_id: int) -> None:
    """Set the tenant of the transaction that is open; it ends with it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.tenant', %s, true)", [str(tenant_id)])


@contextmanager
def acting_for(tenant: Tenant | int) -> Generator[None, None, None]:
    """Open a transaction in which only this tenant's rows exist."""
    tenant_id = tenant if isinstance(tenant, int) else tenant.pk
    with transaction.atomic():
        enter_tenant(tenant_id)
        yield


#: The lane looks rows up by key, mostly such that were written a moment ago: an index
#: costs it hardly more than a scan does, page for page. Where a plan is ruled out (see
#: below), older servers take it for so dear that they would compile what is left.
_BY_KEY = "-c random_page_cost=1.1 -c jit=off"


def pipeline_conninfo(application: str = "gridhook") -> str:
    """Return how listener and workers connect."""
    parts: dict[str, Any] = {**settings.DATABASE_PATIENCE}
    if settings.DATABASE_URL:
        parts |= conninfo_to_dict(settings.DATABASE_URL)
    options = (
        f"-c role={settings.PIPELINE_ROLE} -c lock_timeout=5s "
        f"-c statement_timeout=30s -c idle_in_transaction_session_timeout=60s "
        f"-c timezone=UTC {_BY_KEY}"
    )
    parts["options"] = f"{parts.get('options', '')} {options}".strip()
    parts["application_name"] = application
    return make_conninfo(**parts)


def _configure(connection: Connection[TupleRow]) -> None:
    """Send every whole number as bigint: one statement, prepared once, and no casts."""
    connection.adapters.register_dumper(int, Int8Dumper)


@lru_cache(maxsize=1)
def _pool(conninfo: str) -> ConnectionPool[Connection[TupleRow]]:
    pool = ConnectionPool(
        conninfo,
        min_size=0,
        max_size=4,
        timeout=10,
        max_idle=60,
        check=ConnectionPool.check_connection,
        configure=_configure,
        open=True,
    )
    atexit.register(pool.close)
    return pool


@contextmanager
def pipeline() -> Generator[Connection[TupleRow], None, None]:
    """Open a transaction as the pipeline's role; it commits at the block's end."""
    with _pool(pipeline_conninfo()).connection() as lane:
        yield lane


def join_by_index(cursor: Cursor) -> None:
    """
    Have this transaction join a few keys to the large tables by their indexes.

    A table that has grown since it was last analysed would else be read whole.
    """
    cursor.execute(
        """SELECT set_config('enable_hashjoin', 'off', true),
            set_config('enable_mergejoin', 'off', true),
            set_config('enable_seqscan', 'off', true)"""
    )


def walk_by_index(cursor: Cursor) -> None:
    """
    Have this transaction read rows in the order of an index where there is one.

    A queue that was empty when it was last analysed would else be read whole and
    sorted, once for each of its lanes.
    """
    cursor.execute(
        """SELECT set_config('enable_sort', 'off', true),
            set_config('enable_incremental_sort', 'off', true)"""
    )


def columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """Return the columns of rows, as `unnest` takes them."""
    return [list(column) for column in zip(*rows, strict=True)]


def console_clock() -> datetime:
    """Return the database's time by the console's connection: its own may be wrong."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def database_clock() -> datetime:
    """Return the database's time: a worker's own may be wrong by a year."""
    with pipeline() as lane:
        row = lane.execute("SELECT now()").fetchone()
    now: datetime = row[0] if row else datetime.now(UTC)
    return now
