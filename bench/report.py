"""What a run of the benchmarks says: a table, and sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

#: The table's columns of CPU time.
_KINDS = ("listener", "postgres", "worker", "load", "all")


def table(measured: Mapping[str, Any]) -> Table:
    """Return the runs, a row each."""
    found = Table(caption="CPU in microseconds a callback, all processes of a kind")
    found.add_column("run")
    for name in ("accepted/s", "done/s", "p50 ms", "p99 ms", "not 202", *_KINDS):
        found.add_column(name, justify="right", no_wrap=True)
    for name, run in measured.items():
        found.add_row(name, *_row(run))
    return found


def _row(run: Mapping[str, Any]) -> list[str]:
    other = sum(count for word, count in run["replies"].items() if word != "202")
    return [
        _number(run["per_second"]),
        _number(run.get("processed_per_second")),
        _number(run.get("p50_ms"), 1),
        _number(run.get("p99_ms")),
        f"{other}",
        *(_number(run["cpu_us"].get(kind)) for kind in _KINDS),
    ]


def steps(measured: Sequence[Mapping[str, Any]]) -> Table:
    """Return the climb to the knee, a row for each rate."""
    found = Table(title="the knee")
    for name in ("rate", "accepted/s", "done/s", "p50 ms", "p99 ms", "waiting"):
        found.add_column(name, justify="right")
    found.add_column("breaks by")
    for step in measured:
        found.add_row(
            _number(step["rate"]),
            _number(step["per_second"]),
            _number(step["processed_per_second"]),
            _number(step["p50_ms"], 1),
            _number(step["p99_ms"]),
            _number(step["backlog"][-1] if step["backlog"] else 0),
            step["breaks_by"],
        )
    return found


def verdict(result: Mapping[str, Any]) -> str:
    """Return what the figures say, in sentences."""
    accept, sustained = (result["runs"][k] for k in ("accept only", "sustained"))
    flat = "flat" if sustained["backlog_is_flat"] else "GROWING"
    ratios = result["ratio_to_baseline"]
    stored = result["stored"]
    cost = accept["backlog_cpu_us"]
    sentences = [
        f"Accept only is {ratios['accept only']} times the baseline (of its CPU: a "
        f"{result['cpu_ratio_to_baseline']['accept only']}th), sustained "
        f"{ratios['sustained']} times.",
        f"A backlog is worked off at "
        f"{accept['backlog_worked_off_per_second']:,.0f}/s (worker "
        f"{cost['worker']:.0f}, Postgres {cost['postgres']:.0f} µs).",
        f"Backlog while sustained: {flat}, at most "
        f"{max(sustained['backlog'], default=0)}.",
        *_of_variants(result),
        f"Of {stored['callbacks']:,} callbacks {stored['processed']:,} are processed; "
        f"{stored['readings_stored']:,} readings.",
    ]
    return " ".join(sentences)


def _of_variants(result: Mapping[str, Any]) -> list[str]:
    found = []
    runs = result["runs"]
    if "large" in runs:
        found.append(
            f"Large bodies: {runs['large']['readings_per_second']:,} readings/s from "
            f"the first byte to the last reading."
        )
    if "subscribed" in runs:
        found.append(
            f"With a subscriber of everything {runs['subscribed']['delivered']:,} "
            f"messages were delivered, the last one "
            f"{runs['subscribed']['delivered_later_s']} s after the run."
        )
    if "tls" in result:
        found.append(
            f"TLS 1.3 with HTTP/2 takes {result['tls']['encrypted']['per_second']:,.0f}"
            f"/s, {result['tls']['share']:.0%} of the same client's clear text."
        )
    return found


def _number(value: float | None, decimals: int = 0) -> str:
    return "-" if value is None else f"{value:,.{decimals}f}"
