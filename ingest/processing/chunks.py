"""
Large callbacks: one chunk of readings a transaction, the outcome with the last one.

Each chunk commits its readings together with how far they have come (`progress`), so
that another worker goes on after the last committed one. The clock that the readings
are judged by is the first chunk's, so that each parse of the body says the same.
Source: docs/explanation/large-bodies.md
"""

from typing import Any

from psycopg import Connection

from ingest.formats.parsed import MOST_ERRORS, Parsed
from ingest.processing.progress import Progress, forget_progress, save_progress
from ingest.processing.work import Claim, Outcome

#: Readings that one transaction takes of a large callback.
CHUNK = 5_000


def next_chunk(claim: Claim, whole: Parsed, progress: Progress) -> Outcome:
    """Return the readings of a large callback that are next."""
    chunk = whole.readings[progress.done : progress.done + CHUNK]
    return Outcome(claim._replace(body=None, whole=whole), Parsed(chunk))


def conclude(lane: Connection[Any], outcome: Outcome) -> Outcome | None:
    """
    Return what became of a callback; None: a chunk of it was done, and more is left.

    A small one's outcome is its own.
    """
    claim, whole = outcome.claim, outcome.claim.whole
    if claim.progress is None or whole is None:
        return outcome
    total = _add(claim.progress, outcome)
    if total.done < len(whole.readings):
        save_progress(lane, claim.tenant_id, claim.id, total)
        return None
    return sum_up(lane, claim, total, whole)


def sum_up(
    lane: Connection[Any], claim: Claim, total: Progress, whole: Parsed
) -> Outcome:
    """Return what all chunks did and the parser refused; erase the progress."""
    forget_progress(lane, claim.tenant_id, claim.id)
    errors = [*whole.errors, *total.errors][:MOST_ERRORS]
    return Outcome(
        claim,
        Parsed([], errors, whole.rejected + total.rejected),
        total.stored,
        total.unchanged,
        total.corrections,
        total.corrected,
    )


def _add(progress: Progress, chunk: Outcome) -> Progress:
    """Return the progress with a chunk in it; the claim's own stays as it was."""
    total = Progress(
        began_at=progress.began_at,
        done=progress.done + len(chunk.parsed.readings),
        stored=progress.stored + chunk.stored,
        unchanged=progress.unchanged + chunk.unchanged,
        corrected=progress.corrected + chunk.corrected,
        rejected=progress.rejected + chunk.parsed.rejected,
        errors=list(progress.errors),
        corrections=list(progress.corrections),
    )
    total.list_errors(chunk.parsed.errors)
    total.list_corrections(chunk.corrections)
    return total
