"""
`python -m bench.deliveries`: messages to callback URLs, recorded durable.

Backlogs of deliveries are written with the delivering worker frozen, then it is let
go; the rate is what the database says afterwards: from the first attempt's beginning
to the last record, over the endpoints that answer.
"""

import argparse
import secrets
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import measure, runs
from bench.baseline import deliveries as baseline
from bench.subscribers import Receiver, receiver, subscribe
from tests.processes import ROOT, Platform, Source, running, wait_until

ENDPOINTS = 64
_DRAIN_TIMEOUT_S = 180.0
_WANTED = ("callback.processed",)
#: Deliveries to the endpoints that answer which are not yet recorded.
_WAITING = """
SELECT count(*) FROM subscriptions_delivery d JOIN subscriptions_endpoint e
    ON e.id = d.endpoint_id JOIN tenants_tenant t ON t.id = d.tenant_id
WHERE t.slug = %s AND d.status = 'pending' AND e.url LIKE '%%/well/%%'
"""
_SPEED = """
SELECT count(*), extract(epoch FROM max(d.finished_at) - min(a.started_at))::float8,
    count(DISTINCT d.endpoint_id)
FROM subscriptions_delivery d JOIN subscriptions_endpoint e ON e.id = d.endpoint_id
JOIN tenants_tenant t ON t.id = d.tenant_id
JOIN subscriptions_attempt a ON a.tenant_id = d.tenant_id AND a.delivery_id = d.id
WHERE t.slug = %s AND d.status = 'delivered' AND e.url LIKE '%%/well/%%'
"""


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    console = Console(width=110)
    with running() as platform:
        result = measured(platform, console, arguments.rounds, arguments.messages)
    console.print(table(result))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.deliveries",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3, help="of each run")
    parser.add_argument(
        "--messages", type=int, default=800, help="to each of 64 endpoints"
    )
    return parser.parse_args()


def measured(
    platform: Platform, console: Console, rounds: int = 3, messages: int = 800
) -> dict[str, Any]:
    """Return every run's figures, those of the baseline among them."""
    result: dict[str, Any] = {"rounds": []}
    for number in range(rounds):
        console.print(f"Deliveries, round {number + 1} of {rounds} …")
        result["rounds"].append(
            {
                "baseline": baseline.measured(platform),
                "healthy": backlog(platform, messages),
                "one hangs, one is dead": backlog(platform, messages, is_ill=True),
            }
        )
    console.print("From device to receipt, 500 callbacks/s …")
    result["latency"] = latency(platform)
    result["median"] = {
        name: median(one[name]["per_second"] for one in result["rounds"])
        for name in result["rounds"][0]
    }
    return result


def backlog(
    platform: Platform, messages: int, *, is_ill: bool = False
) -> dict[str, Any]:
    """Measure how fast one worker process delivers to 64 endpoints that answer."""
    source = platform.new_source()
    with ExitStack() as stack:
        well = stack.enter_context(receiver())
        for number in range(ENDPOINTS):
            url = well.url(f"/well/{number}")
            subscribe(platform, source.api_key, url, _WANTED)
        if is_ill:
            _add_ill(platform, source, well)
        pids = platform.pids()
        worker = pids["deliver-1"]
        kinds = measure.Kinds(
            {
                "worker": [worker],
                "postgres": [pids["postgres"]],
                "receiver": [well.pid],
            }
        )
        with runs.frozen([worker]):
            published = _published(platform, source, messages)
            before = kinds.read()
        wait_until(
            lambda: platform.rows(_WAITING, source.tenant)[0][0] == 0,
            timeout_s=_DRAIN_TIMEOUT_S,
            pause_s=0.5,
        )
        after = kinds.read()
        ((count, seconds, endpoints),) = platform.rows(_SPEED, source.tenant)
        _forget(platform, source)
    return {
        "published": published,
        "delivered": count,
        "endpoints": endpoints,
        "seconds": round(seconds, 2),
        "per_second": round(count / seconds),
        "cpu_us": measure.spent_us(before, after, count),
    }


def _add_ill(platform: Platform, source: Source, well: Receiver) -> None:
    """Register one endpoint that never answers, and one that nobody listens at."""
    subscribe(platform, source.api_key, well.url("/hang"), _WANTED)
    with receiver() as dead:
        subscribe(platform, source.api_key, dead.url("/dead"), _WANTED)


def _forget(platform: Platform, source: Source) -> None:
    """Stop the run's endpoints, so that the next run has the worker to itself."""
    _, page = platform.api(source.api_key, "GET", "/endpoints/?page_size=100")
    for endpoint in page["results"]:
        path = f"/endpoints/{endpoint['id']}/"
        platform.api(source.api_key, "DELETE", path)


def _published(platform: Platform, source: Source, count: int) -> int:
    done = subprocess.run(  # noqa: S603 (own module)
        [sys.executable, "-m", "bench.publishing", source.tenant, str(count)],
        cwd=ROOT,
        env=platform.environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return int(done.stdout)


def latency(
    platform: Platform, *, rate: float = 500.0, seconds: float = 20.0
) -> dict[str, Any]:
    """Measure from when a callback was due to be posted to its verified receipt."""
    source = platform.new_source()
    bench = runs.Bench(platform, source, connections=32)
    with tempfile.TemporaryDirectory() as folder:
        secret_file = Path(folder) / "secret"
        with receiver(secret_file) as subscriber:
            _, secret = subscribe(platform, source.api_key, subscriber.url(), _WANTED)
            secret_file.write_text(secret)
            bench.load(seconds=2.0, rate=rate, run="warm")
            run = f"lat-{secrets.token_hex(4)}"
            load = bench.load(seconds=seconds, rate=rate, run=run)
            wait_until(
                lambda: platform.rows(_OWED, source.tenant)[0][0] == 0,
                timeout_s=_DRAIN_TIMEOUT_S,
            )
            said = subscriber.counts()
        _forget(platform, source)
    took = _took_ms(said["arrivals"], run, load["began_s"], rate)
    return {
        "sent": load["sent"],
        "arrived": len(took),
        "refused": said["refused"],
        "p50_ms": round(took[len(took) // 2], 1),
        "p99_ms": round(took[len(took) * 99 // 100], 1),
        "max_ms": round(took[-1], 1),
    }


_OWED = """
SELECT (SELECT count(*) FROM ingest_pendingcallback) + (
    SELECT count(*) FROM subscriptions_delivery d JOIN tenants_tenant t
        ON t.id = d.tenant_id
    WHERE t.slug = %s AND d.status = 'pending')
"""


def _took_ms(
    arrivals: dict[str, float], run: str, began_s: float, rate: float
) -> list[float]:
    """Return how long each of the run's callbacks took, the quickest first."""
    numbers = {
        int(name.rpartition("-")[2]): at
        for name, at in arrivals.items()
        if name.startswith(f"{run}-")
    }
    first = min(numbers)
    return sorted(
        (at - began_s - (number - first) / rate) * 1000
        for number, at in numbers.items()
    )


def table(result: dict[str, Any]) -> Table:
    """Return the runs, a row each."""
    found = Table(
        caption="deliveries a second, one worker process, 64 endpoints; CPU in "
        "microseconds a delivery"
    )
    for name in ("run", "each round", "median", "worker", "postgres", "receiver"):
        found.add_column(name, justify="left" if name == "run" else "right")
    for name, middle in result["median"].items():
        rounds = [one[name] for one in result["rounds"]]
        found.add_row(
            name,
            ", ".join(f"{one['per_second']:,.0f}" for one in rounds),
            f"{middle:,.0f}",
            *(
                f"{median(one['cpu_us'][kind] for one in rounds):.0f}"
                if kind in rounds[0]["cpu_us"]
                else "-"
                for kind in ("worker", "postgres", "receiver")
            ),
        )
    took = result["latency"]
    found.add_row(
        "device to receipt",
        f"{took['arrived']:,} of {took['sent']:,}",
        f"p50 {took['p50_ms']} ms, p99 {took['p99_ms']} ms",
    )
    return found


if __name__ == "__main__":
    main()
