"""What every format's parser returns."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

#: index, device, channel, kind, start_at, duration_s, value, unit, quality. A bare
#: tuple, for a worker makes tens of thousands a second.
ParsedReading = tuple[int, str, str, str, datetime, int, Decimal | None, str, str]
#: Errors that a receipt lists at most; all are counted.
MOST_ERRORS = 100


@dataclass(frozen=True, slots=True)
class ReadingError:
    """Why one reading (or, without an index, the whole body) is refused."""

    index: int | None
    code: str
    detail: str


@dataclass(slots=True)
class Parsed:
    """A body's readings, in order, and the first errors of the refused ones."""

    readings: list[ParsedReading] = field(default_factory=list)
    errors: list[ReadingError] = field(default_factory=list)
    rejected: int = 0

    def refuse(self, index: int | None, code: str, detail: str) -> None:
        """Count a reading (or the body) as refused, and say why."""
        self.rejected += 1
        if len(self.errors) < MOST_ERRORS:
            self.errors.append(ReadingError(index, code, detail))
