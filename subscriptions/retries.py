"""When a delivery is tried again. Source: docs/explanation/delivery.md."""

import random
import re
from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime

#: A pause grows by up to this share of itself, so that retries spread out.
JITTER = 0.1
#: The longest that a receiver may ask to be left alone.
RETRY_AFTER_LIMIT_S = 86_400.0
_SECONDS = re.compile(r"[0-9]{1,30}(?:\.[0-9]{1,30})?")


def pause_s(step: int, schedule: Sequence[float]) -> float | None:
    """
    Return how long to wait after the schedule's n-th attempt; None: it was the last.

    Never shorter than the schedule says.
    """
    if step > len(schedule):
        return None
    pause = schedule[step - 1]
    return pause + pause * JITTER * random.random()  # noqa: S311 (spread, no secret)


def retry_after_s(header: str, *, now_s: float) -> float:
    """Return how long the receiver asks to wait; 0: it does not say readably."""
    text = header.strip()
    wanted = float(text) if _SECONDS.fullmatch(text) else _date_s(text) - now_s
    return min(max(wanted, 0.0), RETRY_AFTER_LIMIT_S)


def _date_s(text: str) -> float:
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError, IndexError, TypeError):
        return 0.0
