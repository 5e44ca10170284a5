"""
Whether a ledger of many rows slows anything down: `python -m bench.ledger_rows`.

A platform of its own is measured with an empty ledger; then the rows are built in bulk,
as if they had come over 399 days from 20 sources; then it is measured again. Prints how
long building took, how big everything is, and each run beside its like; writes
bench/results/ledger_rows.json.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from rich.console import Console
from rich.table import Table

from bench import runs
from tests.processes import Platform, running

RESULTS = Path(__file__).resolve().parent / "results" / "ledger_rows.json"
#: One less than the retention, so that nothing is forgotten meanwhile.
DAYS = 399
SOURCES = 20
CHUNK = 1_000_000
#: What a measurement at full length may lose against one on an empty ledger.
MOST_LOST = 0.2

#: In the order of time, which is that of the ids; random below the millisecond. The
#: transaction ids are counted, as a head-end does.
_BUILD = """
INSERT INTO ingest_callback (tenant_id, id, source_id, transaction_id, digest,
    received_at, state, processed_at, stored)
SELECT %(tenant)s,
    (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7'
        || substr(word, 1, 3) || '8' || substr(word, 4, 15))::uuid,
    (%(sources)s::uuid[])[1 + n %% %(count)s],
    'head-end-' || n %% %(count)s || '/' || lpad((n / %(count)s)::text, 9, '0'),
    decode(word || word, 'hex'), at, 1, at + interval '300 ms', 4
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
CROSS JOIN LATERAL (SELECT md5(n::text) AS word,
    %(from_at)s::timestamptz + n * (%(days)s * interval '1 day' / %(rows)s) AS at) AS t
"""
_RELATIONS = """
SELECT c.relname, pg_relation_size(c.oid), i.indrelid IS NOT NULL
FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
WHERE c.oid = 'ingest_callback'::regclass OR i.indrelid = 'ingest_callback'::regclass
ORDER BY 3, 1
"""
#: Bytes, indexes included, and rows of a partitioned table.
_PARTITIONED = """
SELECT sum(pg_total_relation_size(inhrelid)), (SELECT count(*) FROM {0})
FROM pg_inherits WHERE inhparent = '{0}'::regclass
"""


def main() -> None:
    """Measure, build, measure again; print and keep."""
    arguments = _arguments()
    console = Console(width=110)
    with running(workers=1, listeners=1) as platform:
        bench = runs.Bench(platform, platform.new_source(), connections=192)
        bench.load(seconds=2.0)
        console.print("With an empty ledger …")
        empty = _measure(bench, arguments)
        per_reading, per_body = _bytes_each(platform)
        # Of another tenant: its ids come after those that are there, as in real life.
        bench = runs.Bench(platform, platform.new_source(), connections=192)
        console.print(f"Building {arguments.rows:,} rows …")
        built = _build(platform, bench.source.tenant, arguments.rows, console)
        console.print("With a long ledger …")
        full = _measure(bench, arguments)
        result = {
            "arguments": vars(arguments),
            "built": built,
            "bytes": {
                **_ledger_bytes(platform),
                "per_reading": per_reading,
                "per_body": per_body,
            },
            "empty": empty,
            "full": full,
        }
    console.print(_table(result))
    console.print(_words(result))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    console.print(f"Written to {RESULTS}.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.ledger_rows", description=__doc__
    )
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--seconds", type=float, default=10, help="of each run")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each kind")
    parser.add_argument(
        "--rate", type=float, default=2_000, help="of the runs that measure latency"
    )
    return parser.parse_args()


def _measure(bench: runs.Bench, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the runs of each kind; the machine swings, so there are several."""
    seconds = arguments.seconds
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(arguments.repeat):
        for name, run in (
            ("accept only", runs.accept_only(bench, seconds)),
            ("end to end", runs.end_to_end(bench, seconds)),
            ("steady", runs.end_to_end(bench, seconds, rate=arguments.rate)),
        ):
            found.setdefault(name, []).append(run)
    return {name: _middle(ones) for name, ones in found.items()}


def _middle(ones: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of each figure."""
    costs = [one["cpu_us"] for one in ones]
    return {
        **{
            name: statistics.median(one[name] for one in ones)
            for name in ("per_second", "processed_per_second", "p50_ms", "p99_ms")
            if name in ones[0]
        },
        "cpu_us": {
            kind: statistics.median(cost[kind] for cost in costs) for kind in costs[0]
        },
        "not_202": sum(
            count
            for one in ones
            for status, count in one["replies"].items()
            if status != "202"
        ),
    }


def _build(
    platform: Platform, tenant: str, rows: int, console: Console
) -> dict[str, Any]:
    """Write the rows in bulk, vacuum, and return how long both took."""
    values = {
        "sources": [uuid4() for _ in range(SOURCES)],
        "count": SOURCES,
        "rows": rows,
        "days": DAYS,
    }
    began_s = time.monotonic()
    with platform.database() as owner:
        owner.execute("SET synchronous_commit = off")
        (values["tenant"], values["from_at"]) = owner.execute(
            """SELECT id, now() - %s * interval '1 day' FROM tenants_tenant
            WHERE slug = %s""",
            [DAYS, tenant],
        ).fetchone() or (0, None)
        for first in range(0, rows, CHUNK):
            last = min(first + CHUNK, rows) - 1
            owner.execute(_BUILD, {**values, "first": first, "last": last})
            console.print(f"  {last + 1:,}: {time.monotonic() - began_s:.0f} s")
        built_s = time.monotonic() - began_s
        owner.execute("VACUUM (FREEZE, ANALYZE, PARALLEL 0) ingest_callback")
        owner.execute("CHECKPOINT")
    return {
        "rows": rows,
        "build_s": round(built_s, 1),
        "vacuum_s": round(time.monotonic() - began_s - built_s, 1),
    }


def _ledger_bytes(platform: Platform) -> dict[str, Any]:
    ((count,),) = platform.rows("SELECT count(*) FROM ingest_callback")
    sizes = {name: int(size) for name, size, _ in platform.rows(_RELATIONS)}
    return {
        "relations": sizes,
        "rows": count,
        "per_callback": {name: round(size / count) for name, size in sizes.items()},
    }


def _bytes_each(platform: Platform) -> tuple[int, int]:
    """Return the bytes on disk of a reading and of a body, indexes included."""
    each = []
    for table in ("ingest_reading", "ingest_callbackbody"):
        ((size, count),) = platform.rows(_PARTITIONED.format(table))
        each.append(round(int(size) / max(count, 1)))
    return each[0], each[1]


def _table(result: dict[str, Any]) -> Table:
    table = Table(title=f"an empty ledger, and one of {result['built']['rows']:,} rows")
    table.add_column("run")
    for name in ("accepted/s", "processed/s", "p50 ms", "p99 ms", "postgres µs", "all"):
        table.add_column(name, justify="right")
    for name in result["empty"]:
        for ledger in ("empty", "full"):
            run = result[ledger][name]
            table.add_row(
                f"{name}, {ledger}",
                f"{run['per_second']:,.0f}",
                f"{run.get('processed_per_second', 0):,.0f}",
                f"{run['p50_ms']:.1f}",
                f"{run['p99_ms']:.1f}",
                f"{run['cpu_us']['postgres']:.0f}",
                f"{run['cpu_us']['all']:.0f}",
            )
    return table


def _words(result: dict[str, Any]) -> str:
    built, sizes = result["built"], result["bytes"]
    empty, full = result["empty"], result["full"]
    speed = _share(full, empty, "accept only", "per_second")
    done = _share(full, empty, "end to end", "processed_per_second")
    late = _share(full, empty, "steady", "p99_ms")
    verdict = "within" if speed >= 1 - MOST_LOST and late <= 1 + MOST_LOST else "NOT in"
    each = ", ".join(
        f"{name} {size} ({sizes['relations'][name] / 2**30:.2f} GiB)"
        for name, size in sizes["per_callback"].items()
    )
    return (
        f"Built in {built['build_s']:.0f} s, vacuumed in {built['vacuum_s']:.0f} s. "
        f"Bytes a callback: {each}, body {sizes['per_body']}; a reading "
        f"{sizes['per_reading']}. Of the empty ledger's: {speed:.0%} accepted/s, "
        f"{done:.0%} processed/s, {late:.0%} of p99 at a steady rate: {verdict} "
        f"{MOST_LOST:.0%}."
    )


def _share(full: dict[str, Any], empty: dict[str, Any], run: str, figure: str) -> float:
    return float(full[run][figure] / max(empty[run][figure], 0.001))


if __name__ == "__main__":
    main()
