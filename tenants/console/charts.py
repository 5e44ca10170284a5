"""What static/console/console.js draws; floats will do, for it is a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

_KINDS = ("actual", "estimated", "missing")
_PERCENT = 100


@dataclass(frozen=True)
class ChartDay:
    """A day's value, and the parts of the day known so; together they are one."""

    label: str
    value: Decimal
    actual: Decimal
    estimated: Decimal
    missing: Decimal


def bars(
    labels: Sequence[str], series: dict[str, list[float]], unit: str
) -> dict[str, Any]:
    """Return stacked bars, each series in the colour of its name."""
    return {
        "type": "bar",
        "stacked": True,
        "unit": unit,
        "labels": list(labels),
        "datasets": [
            {"label": name.capitalize(), "colour": f"--gh-{name}", "data": data}
            for name, data in series.items()
        ],
    }


def lines(
    labels: Sequence[str], series: dict[str, list[float | None]], unit: str
) -> dict[str, Any]:
    """Return lines with a dot for each value, each series in the colour of its name."""
    return {
        "type": "line",
        "dots": 2,
        "unit": unit,
        "labels": list(labels),
        "datasets": [
            {"label": name, "colour": f"--gh-{name}", "data": data}
            for name, data in series.items()
        ],
    }


def usage_chart(days: Sequence[ChartDay], unit: str) -> dict[str, Any]:
    """Return the days' usage: what was measured, and what was estimated."""
    series = {
        "actual": [_known(day, day.actual) for day in days],
        "estimated": [_known(day, day.estimated) for day in days],
    }
    return bars([day.label for day in days], series, unit)


def coverage_chart(days: Sequence[ChartDay]) -> dict[str, Any]:
    """Return how much of each day is known, in percent."""
    series = {
        kind: [float(_PERCENT * getattr(day, kind)) for day in days] for kind in _KINDS
    }
    return {**bars([day.label for day in days], series, "%"), "max": _PERCENT}


def _known(day: ChartDay, share: Decimal) -> float:
    """Return the part of the value known so; all of it is in what is not missing."""
    known = day.actual + day.estimated
    return float(day.value * share / known) if known else 0.0
