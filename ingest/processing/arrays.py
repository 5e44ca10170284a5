"""Arrays on their way to Postgres, as its own text: several times faster than lists."""

from collections.abc import Iterable, Sequence
from typing import Any


def array(values: Iterable[Any]) -> str:
    """
    Return the text of an array of numbers, moments, UUIDs or single letters.

    Not of any text at all: nothing is quoted.
    """
    return "{" + ",".join(["NULL" if one is None else str(one) for one in values]) + "}"


def columns(rows: Sequence[tuple[Any, ...]]) -> list[str]:
    """Return the columns of rows, each as the text of an array."""
    return [array(column) for column in zip(*rows, strict=True)]
