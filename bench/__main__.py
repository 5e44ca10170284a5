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

from bench import deliveries, report, runs, variants
from tests.processes import Platform, running

RESULTS = Path(__file__).resolve().parent / "results" / "latest.json"
#: The sustained run's rate, as a share of what went through as fast as it goes.
SUSTAINED_SHARE = 0.8
CALM_SHARE = 0.5
#: Callbacks a second between two steps of the climb.
KNEE_STEP = 500.0


def main() -> None:
    """Measure, print, keep."""
    arguments = _arguments()
    console = Console(width=110)
    console.print(
        "Starting a platform of its own: Postgres, Redis, listener, workers …"
    )
    with running(workers=arguments.workers, listeners=arguments.listeners) as platform:
        result = _measure(platform, arguments, console)
        if not arguments.speed_only:
            result["deliveries"] = deliveries.measured(platform, console)
    if not arguments.speed_only:
        console.print("TLS 1.3 and HTTP/2, and clear text by the same client …")
        result["tls"] = variants.tls(arguments.short)
    console.print(report.table(result["runs"]))
    if result["knee"]:
        console.print(report.steps(result["knee"]))
    if not arguments.speed_only:
        console.print(deliveries.table(result["deliveries"]))
    console.print(report.verdict(result))
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
    parser.add_argument(
        "--speed-only", action="store_true", help="no other bodies, TLS or deliveries"
    )
    parser.add_argument(
        "--knee", type=float, default=0, help="raise the load from this rate by 500/s"
    )
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
    measured["sustained"] = runs.end_to_end(bench, arguments.seconds, rate=rate)
    console.print("Calm …")
    calm = round(rate * CALM_SHARE)
    measured["calm"] = runs.end_to_end(bench, short, rate=calm)
    if not arguments.speed_only:
        console.print("An endpoint that asked for everything …")
        measured["subscribed"] = variants.subscribed(bench, short, calm)
        console.print("Bodies of 2 KiB, and of 100,000 readings …")
        measured["medium"] = variants.medium(bench, short)
        measured["large"] = variants.large(bench)
    steps = []
    if arguments.knee:
        console.print("Raising the load until it breaks …")
        steps = variants.knee(bench, short, arguments.knee, KNEE_STEP)
    return {
        "knee": steps,
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


if __name__ == "__main__":
    main()
