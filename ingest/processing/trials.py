"""
Noticing callbacks that take their worker down with them.

What a batch works on is written down before, and erased by the batch's own transaction.
An entry whose callbacks nobody holds was left by a worker that was killed, that worked
too long and ended itself, or whose statement Postgres cancelled. Its callbacks are then
done alone, and one that was left alone several times is set aside.
Source: docs/explanation/usage.md
"""

import contextlib
import faulthandler
import sys
from collections.abc import Generator, Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg import Connection, errors

from tenants.database import pipeline
from tenants.identifiers import new_id

#: A callback that was left alone so often is set aside.
MOST_LEFT = 3
#: Seconds after which a worker ends itself: Postgres has ended a session that idles for
#: so long in its transaction, so nothing that the worker still does would count.
LONGEST_S = 90.0

#: Of these callbacks, those that were left, with how often alone.
_LEFT = """
SELECT k.id, count(*) FILTER (WHERE cardinality(t.callback_ids) = 1)
FROM ingest_processingtrial t CROSS JOIN LATERAL unnest(t.callback_ids) AS k (id)
JOIN unnest(%s::uuid[]) AS wanted (id) ON wanted.id = k.id
GROUP BY k.id
"""


def left(lane: Connection[Any], callback_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Return which of these, held by the lane, were left, and how often alone."""
    return dict(lane.execute(_LEFT, [list(callback_ids)]).fetchall())


@contextlib.contextmanager
def trial(
    lane: Connection[Any], callback_ids: Sequence[UUID]
) -> Generator[None, None, None]:
    """
    Keep an entry while the block runs; it ends with the lane's transaction.

    After an error it ends at once, while the lane holds the callbacks still; after a
    cancelled statement it stays.
    """
    entry = new_id()
    ids = list(callback_ids)
    with pipeline() as other:
        # Unflushed: it is to outlive the worker, not Postgres.
        other.execute("SET LOCAL synchronous_commit = off")
        other.execute(
            "INSERT INTO ingest_processingtrial (id, callback_ids) VALUES (%s, %s)",
            [entry, ids],
        )
    try:
        with _ended_in_time():
            yield
    except errors.QueryCanceled:
        raise
    except BaseException:
        _erase(entry)
        raise
    lane.execute("DELETE FROM ingest_processingtrial WHERE callback_ids = %s", [ids])


@contextlib.contextmanager
def _ended_in_time() -> Generator[None, None, None]:
    """End the process when the block takes too long; its supervisor starts another."""
    # From a thread in C: it ends a loop that never lets go of the interpreter, too.
    faulthandler.dump_traceback_later(LONGEST_S, exit=True, file=sys.__stderr__ or 2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _erase(entry: UUID) -> None:
    with contextlib.suppress(psycopg.Error), pipeline() as other:
        other.execute("DELETE FROM ingest_processingtrial WHERE id = %s", [entry])


def forget_old() -> None:
    """Erase what was left a day ago: its callbacks were done since."""
    with pipeline() as lane:
        lane.execute(
            """DELETE FROM ingest_processingtrial
            WHERE started_at < now() - interval '1 day'"""
        )
