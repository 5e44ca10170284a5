"""
`python -m tests.chaos`: the long form of the rows, seeded.

    --rows R01,R06   these rows (default: all)
    --seconds 60     of faults in each row (default: the row's own)
    --rate 300       callbacks a second
    --seed 7         the luck of a run before
    --control        do the wrong thing in each row: every one must turn red
    --output PATH    write the table there as well, as JSON

Prints a table; exit 0 when every row came out as it must.
"""

import argparse
import json
import random
import secrets
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.chaos.rows import ROWS, Row
from tests.chaos.site import Site, opened
from tests.chaos.staging import Report, Stage

COLUMNS = [
    "row",
    "acknowledged",
    "undecided",
    "stored",
    "lost",
    "doubled",
    "phantom",
    "slowest_s",
    "recovery_s",
    "verdict",
]


def main() -> None:
    """Run the rows that were asked for."""
    options = _options()
    rows = [ROWS[name] for name in options.rows]
    sys.stdout.write(f"SEED={options.seed}\n")
    _print(COLUMNS)
    results = []
    with ExitStack() as stack:
        site: Site | None = None
        for row in rows:
            if row.missing or (options.control and not row.control):
                reason = row.missing and f"needs {row.missing}"
                _print([row.id, f"skipped: {reason or 'it has no control'}"])
                continue
            if site is None or options.control:
                stack.close()
                site = stack.enter_context(_site(row, is_control=options.control))
            report = _run(row, site, options)
            _show(row, report, is_control=options.control)
            results.append((row, report))
    if options.output:
        options.output.write_text(json.dumps([_record(*one) for one in results]))
    sys.exit(any(report.holds == options.control for _, report in results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--rows", type=lambda text: text.split(","), default=list(ROWS))
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--rate", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if unknown := set(options.rows) - ROWS.keys():
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    return options


def _site(row: Row, *, is_control: bool) -> Any:
    return opened(
        second=row.control_listener if is_control else "",
        environment=row.control_environment if is_control else {},
    )


def _run(row: Row, site: Site, options: argparse.Namespace) -> Report:
    """Run one row; one that raises is broken, and the others go on."""
    seconds = row.long_s if options.seconds is None else options.seconds
    with tempfile.TemporaryDirectory(prefix="gh-chaos-") as folder:
        stage = Stage(
            site=site,
            folder=Path(folder),
            seconds=seconds,
            rate=options.rate,
            random=random.Random(f"{options.seed}/{row.id}"),  # noqa: S311 (no secret)
            is_control=options.control,
        )
        try:
            site.await_whole()
            return row.run(stage)
        except Exception as error:  # noqa: BLE001 (whatever it is, the row is red)
            traceback.print_exc()
            return Report(broken=[f"raised {error!r}"])


def cells(row: Row, report: Report) -> list[str]:
    """Return a row of the table."""
    verdict = asdict(report.verdict) if report.verdict else {}
    figures = {**report.figures, **verdict}
    values = [figures.get(column) for column in COLUMNS[1:-1]]
    return [
        row.id,
        *("-" if value is None else f"{value:.4g}" for value in values),
        "holds" if report.holds else "BROKEN",
    ]


def _show(row: Row, report: Report, *, is_control: bool) -> None:
    _print(cells(row, report))
    if is_control:
        sys.stdout.write(f"    wrong on purpose: {row.control}\n")
    for what, value in report.figures.items():
        if what not in COLUMNS:
            sys.stdout.write(f"    {what}: {value:.4g}\n")
    for broken in report.broken:
        sys.stdout.write(f"    broken: {broken}\n")
    sys.stdout.flush()


def _print(parts: Sequence[str]) -> None:
    line = " ".join(f"{part:>12}" for part in parts)
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _record(row: Row, report: Report) -> dict[str, Any]:
    return {"row": row.id, "fact": row.fact, **asdict(report)}


if __name__ == "__main__":
    main()
