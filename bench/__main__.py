"""`python -m bench`: every run, a table, and bench/results/latest.json."""

import argparse
import json
import os
import platform as machine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from bench import runs
from tests.processes import Platform, running

RESULTS = Path(__file__).resolve().parent / "results" / "latest.json"
#: The sustained run's rate, as a share of what went through as fast as it goes.
SUSTAINED_SHARE = 0.8
CALM_SHARE = 0.5
#: The table's columns of CPU time.
_KINDS = ("listener", "postgres", "worker", "load", "all")


def main() -> None:
    """Measure, print, keep."""
    arguments = _arguments()
    console = Console(width=110)
    console.print(
        "Starting a platform of its own: Postgres, Redis, listener, workers …"
    )
    with running(workers=arguments.workers, listeners=arguments.listeners) as platform:
        result = _measure(platform, arguments, console)
    console.print(_table(result["runs"]))
    console.print(_verdict(result))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    console.print(f"Written to {RESULTS}.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="the sustained run")
    parser.add_argument("--short", type=float, default=10, help="the other runs")
    parser.add_argument("--rate", type=float, default=0, help="of the sustained run")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--listeners", type=int, default=1)
    parser.add_argument("--connections", type=int, default=192)
    return parser.parse_args()


def _measure(
    platform: Platform, arguments: argparse.Namespace, console: Console
) -> dict[str, Any]:
    bench = runs.Bench(platform, platform.new_source(), arguments.connections)
    short = arguments.short
    measured: dict[str, Any] = {}
    console.print("Baseline …")
    measured["baseline"] = runs.baseline(bench, short)
    bench.load(seconds=1.0)
    console.print("Accept only, then the backlog …")
    measured["accept only"] = runs.accept_only(bench, short)
    console.print("End to end, as fast as it goes …")
    fastest = measured["end to end"] = runs.end_to_end(bench, short)
    rate = arguments.rate or round(fastest["processed_per_second"] * SUSTAINED_SHARE)
    console.print(f"Sustained, {rate:.0f}/s for {arguments.seconds:.0f} s …")
    measured["sustained"] = runs.end_to_end(bench, arguments.seconds, rate)
    console.print("Calm …")
    measured["calm"] = runs.end_to_end(bench, short, round(rate * CALM_SHARE))
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(platform),
        "arguments": vars(arguments),
        "runs": measured,
        "ratio_to_baseline": {
            name: round(run["per_second"] / measured["baseline"]["per_second"], 1)
            for name, run in measured.items()
        },
        "cpu_ratio_to_baseline": {
            name: round(measured["baseline"]["cpu_us"]["all"] / run["cpu_us"]["all"], 1)
            for name, run in measured.items()
        },
        "stored": runs.verify(bench),
    }


def _machine(platform: Platform) -> dict[str, Any]:
    ((postgres,),) = platform.rows("SHOW server_version")
    ((commit,),) = platform.rows("SHOW synchronous_commit")
    ((fsync,),) = platform.rows("SHOW fsync")
    return {
        "cpus": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": machine.platform(),
        "python": machine.python_version(),
        "postgres": postgres,
        "synchronous_commit": commit,
        "fsync": fsync,
        "load_average_at_end": os.getloadavg(),
    }


def _table(measured: dict[str, Any]) -> Table:
    table = Table(
        title="callbacks of about 360 bytes with 4 readings",
        caption="CPU in microseconds a callback, all processes of a kind",
    )
    table.add_column("run")
    for name in ("accepted/s", "done/s", "p50 ms", "p99 ms", "not 202", *_KINDS):
        table.add_column(name, justify="right", no_wrap=True)
    for name, run in measured.items():
        other = sum(count for word, count in run["replies"].items() if word != "202")
        table.add_row(
            name,
            _number(run["per_second"]),
            _number(run.get("processed_per_second")),
            f"{run['p50_ms']:.1f}",
            f"{run['p99_ms']:.0f}",
            f"{other}",
            *(_number(run["cpu_us"].get(kind)) for kind in _KINDS),
        )
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _verdict(result: dict[str, Any]) -> str:
    accept, sustained = (result["runs"][k] for k in ("accept only", "sustained"))
    flat = "flat" if sustained["backlog_is_flat"] else "GROWING"
    ratios = result["ratio_to_baseline"]
    stored = result["stored"]
    cost = accept["backlog_cpu_us"]
    return (
        f"Accept only is {ratios['accept only']} times the baseline (of its CPU: a "
        f"{result['cpu_ratio_to_baseline']['accept only']}th), sustained "
        f"{ratios['sustained']} times. A backlog is worked off at "
        f"{accept['backlog_worked_off_per_second']:,.0f}/s (worker "
        f"{cost['worker']:.0f}, Postgres {cost['postgres']:.0f} µs). Backlog while "
        f"sustained: {flat}, at most {max(sustained['backlog'], default=0)}. "
        f"Of {stored['callbacks']:,} callbacks {stored['processed']:,} are processed; "
        f"{stored['readings_stored']:,} readings."
    )


if __name__ == "__main__":
    main()
