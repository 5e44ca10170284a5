"""How far a large callback has come: kept with each chunk, gone with the last."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg import Connection

from ingest.formats.parsed import MOST_ERRORS, ReadingError

#: Corrections that one message lists at most; all are counted.
MOST_LISTED = 100

_LOAD = """
SELECT began_at, done, stored, unchanged, corrected, rejected, errors, corrections
FROM ingest_processingprogress WHERE tenant_id = %s AND callback_id = %s
"""

_SAVE = """
INSERT INTO ingest_processingprogress (tenant_id, callback_id, began_at, done, stored,
    unchanged, corrected, rejected, errors, corrections)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (tenant_id, callback_id) DO UPDATE
SET done = excluded.done, stored = excluded.stored, unchanged = excluded.unchanged,
    corrected = excluded.corrected, rejected = excluded.rejected,
    errors = excluded.errors, corrections = excluded.corrections
"""

_FORGET = """
DELETE FROM ingest_processingprogress WHERE tenant_id = %s AND callback_id = %s
"""


@dataclass(slots=True)
class Progress:
    """What the chunks before did; refusals of the parser are not among it."""

    #: The clock that all its readings are judged by, whoever parses it again.
    began_at: datetime
    #: How many of the parsed readings are done.
    done: int = 0
    stored: int = 0
    unchanged: int = 0
    corrected: int = 0
    rejected: int = 0
    errors: list[ReadingError] = field(default_factory=list)
    corrections: list[dict[str, Any]] = field(default_factory=list)

    def list_errors(self, errors: Sequence[ReadingError]) -> None:
        """Keep the first errors."""
        self.errors += errors[: MOST_ERRORS - len(self.errors)]

    def list_corrections(self, corrections: Sequence[dict[str, Any]]) -> None:
        """Keep the first corrections."""
        self.corrections += corrections[: MOST_LISTED - len(self.corrections)]


def load_progress(
    lane: Connection[Any], tenant_id: int, callback_id: UUID
) -> Progress | None:
    """Return a callback's progress; None: its first chunk is not done."""
    row = lane.execute(_LOAD, [tenant_id, callback_id]).fetchone()
    if row is None:
        return None
    began_at, done, stored, unchanged, corrected, rejected, errors, corrections = row
    return Progress(
        began_at,
        done,
        stored,
        unchanged,
        corrected,
        rejected,
        [ReadingError(**error) for error in errors or ()],
        corrections or [],
    )


def save_progress(
    lane: Connection[Any], tenant_id: int, callback_id: UUID, progress: Progress
) -> None:
    """Write the progress down, in the chunk's own transaction."""
    lane.execute(
        _SAVE,
        [
            tenant_id,
            callback_id,
            progress.began_at,
            progress.done,
            progress.stored,
            progress.unchanged,
            progress.corrected,
            progress.rejected,
            _json([asdict(error) for error in progress.errors]),
            _json(progress.corrections),
        ],
    )


def forget_progress(lane: Connection[Any], tenant_id: int, callback_id: UUID) -> None:
    """Erase the progress of a callback that is settled."""
    lane.execute(_FORGET, [tenant_id, callback_id])


def _json(items: Sequence[Any]) -> str | None:
    return msgspec.json.encode(items).decode() if items else None
