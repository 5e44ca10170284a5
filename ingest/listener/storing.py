"""
The ledger's SQL: storing what is new, and finding what was there before.

Source: docs/explanation/durability.md
"""

from collections.abc import Sequence

import psycopg
from psycopg.pq import TransactionStatus

from ingest.listener.entries import (
    CONFLICT,
    UNAVAILABLE,
    Bundle,
    Entry,
    Outcome,
    Verdict,
    by_key,
)
from ingest.listener.lanes import COMMIT_SETTINGS, Lane, require_durable

#: Stores what is new and puts it in the workers' queue. `received_at` is the database's
#: clock; rows come sorted by key, so that two listeners never wait for each other in
#: a circle. What is not returned was there before. The settings come with it, for they
#: may change while the connection lasts.
STORE = f"""
WITH incoming AS (
    SELECT * FROM unnest(%b::uuid[], %b::bigint[], %b::uuid[], %b::text[], %b::bytea[],
                         %b::text[], %b::bytea[], %b::text[])
        AS i (id, tenant_id, source_id, transaction_id, digest, content_type, body,
              signed_by)
), ledger AS (
    INSERT INTO ingest_callback
        (tenant_id, id, source_id, transaction_id, digest, received_at)
    SELECT tenant_id, id, source_id, transaction_id, digest, now() FROM incoming
    ON CONFLICT ON CONSTRAINT callback_transaction_unique DO NOTHING
    RETURNING id
), bodies AS (
    INSERT INTO ingest_callbackbody
        (tenant_id, callback_id, received_at, content_type, body, signed_by)
    SELECT i.tenant_id, i.id, now(), i.content_type, i.body, i.signed_by
    FROM incoming i JOIN ledger USING (id)
), queue AS (
    INSERT INTO ingest_pendingcallback (callback_id, tenant_id, source_id, received_at)
    SELECT i.id, i.tenant_id, i.source_id, now()
    FROM incoming i JOIN ledger USING (id)
)
SELECT id, (SELECT {COMMIT_SETTINGS}) FROM ledger
"""  # noqa: S608

#: The first callbacks under these keys. A statement of its own: the snapshot of STORE
#: does not show rows that another listener committed meanwhile.
FIRST = """
SELECT i.place, c.id, c.digest
FROM unnest(%b::bigint[], %b::bigint[], %b::uuid[], %b::text[])
    AS i (place, tenant_id, source_id, transaction_id)
JOIN ingest_callback c ON c.tenant_id = i.tenant_id AND c.source_id = i.source_id
    AND c.transaction_id = i.transaction_id COLLATE "C"
"""


async def insert(lane: Lane, entries: Sequence[Entry]) -> list[Entry]:
    """
    Store those that are new, and return the others.

    Raises: psycopg.Error. UnsafeCommit: a crash could lose what was stored.
    """
    cursor = await lane.execute(
        STORE,
        [
            [entry.receipt for entry in entries],
            [entry.tenant_id for entry in entries],
            [entry.source_id for entry in entries],
            [entry.transaction_id for entry in entries],
            [entry.digest for entry in entries],
            [entry.content_type for entry in entries],
            [entry.body for entry in entries],
            [entry.signed_by for entry in entries],
        ],
    )
    first = await cursor.fetchone()
    if first is None:
        return list(entries)
    require_durable(first[1])
    if cursor.rowcount == len(entries):
        return []
    stored = {first[0], *(row[0] for row in await cursor.fetchall())}
    return [entry for entry in entries if entry.receipt not in stored]


async def compare(lane: Lane, known: Sequence[Entry]) -> list[Outcome]:
    """Return the outcomes of those whose transaction id was there already."""
    outcomes = [UNAVAILABLE] * len(known)
    cursor = await lane.execute(
        FIRST,
        [
            list(range(len(known))),
            [entry.tenant_id for entry in known],
            [entry.source_id for entry in known],
            [entry.transaction_id for entry in known],
        ],
    )
    for place, receipt, digest in await cursor.fetchall():
        entry = known[place]
        if receipt == entry.receipt:
            # Its own: committed before the connection was lost.
            outcomes[place] = Outcome(Verdict.ACCEPTED, receipt)
        elif digest == entry.digest:
            outcomes[place] = Outcome(Verdict.DUPLICATE, receipt)
        else:
            outcomes[place] = CONFLICT
    return outcomes


async def store_bundle(lane: Lane, bundle: Bundle) -> list[Outcome]:
    """
    Commit a bundle as a whole; where one of it conflicts, nothing is stored.

    Returns: the outcomes in the bundle's order; with a conflict, ACCEPTED without a
        receipt says that a callback would have been new.
    Raises: psycopg.Error. UnsafeCommit: nothing was acknowledged.
    """
    await lane.execute("BEGIN")
    try:
        decided = await _decide(lane, sorted(bundle.entries, key=by_key))
        outcomes = [decided[entry] for entry in bundle.entries]
        if CONFLICT in outcomes:
            return [one if one is CONFLICT else _held_back(one) for one in outcomes]
        await lane.execute("COMMIT")
        # Settings may have changed between the insertion and its commit.
        await _require_durable(lane)
    finally:
        await _roll_back(lane)
    return outcomes


async def _decide(lane: Lane, entries: Sequence[Entry]) -> dict[Entry, Outcome]:
    known = await insert(lane, entries)
    decided = {entry: Outcome(Verdict.ACCEPTED, entry.receipt) for entry in entries}
    if known:
        decided |= zip(known, await compare(lane, known), strict=True)
    return decided


def _held_back(outcome: Outcome) -> Outcome:
    return Outcome(outcome.verdict)


async def _require_durable(lane: Lane) -> None:
    cursor = await lane.execute(f"SELECT {COMMIT_SETTINGS}")
    row = await cursor.fetchone()
    require_durable(row[0] if row else ["", "", ""])


async def _roll_back(lane: Lane) -> None:
    """End the transaction, if one is open; or the connection, if that fails."""
    connection = lane.connection
    if connection is None:
        return
    if connection.info.transaction_status is TransactionStatus.IDLE:
        return
    try:
        await lane.execute("ROLLBACK")
    except psycopg.Error:
        await lane.close()
