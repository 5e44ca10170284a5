"""Other bodies, other roads, and how much is too much."""

import tempfile
import time
from pathlib import Path
from typing import Any

from bench import measure, runs
from bench.bodies import SHAPES
from bench.subscribers import receiver, subscribe
from tests.certificates import self_signed
from tests.processes import running, wait_until

#: Bodies of about 9.5 MB that the large run posts.
LARGE_BODIES = 10
_STREAMS = 128
#: A latency or a backlog past which the platform does not keep up.
_KNEE_P99_MS = 500.0
_KNEE_BACKLOG_S = 2.0


def medium(bench: runs.Bench, seconds: float) -> dict[str, Any]:
    """Measure bodies of 2 KiB with 25 readings: accepting, then working off."""
    result = runs.accept_only(bench, seconds, shape="medium")
    each = SHAPES["medium"].readings
    done = result["backlog_worked_off_per_second"]
    return {**result, "readings_per_second": round(done * each)}


def large(bench: runs.Bench) -> dict[str, Any]:
    """Measure bodies of 100,000 readings, from the first byte to the last reading."""
    result = runs.end_to_end(
        bench, 120, shape="large", limit=LARGE_BODIES, connections=2, first=0
    )
    readings = result["replies"].get("202", 0) * SHAPES["large"].readings
    return {
        **result,
        "readings_per_second": round(readings / result["drained_after_s"]),
    }


def subscribed(bench: runs.Bench, seconds: float, rate: float) -> dict[str, Any]:
    """Measure with an endpoint that asked for everything."""
    key = bench.source.api_key
    with receiver() as subscriber:
        wanted = ("callback.processed",)
        endpoint, _ = subscribe(bench.platform, key, subscriber.url(), wanted)
        result = runs.end_to_end(bench, seconds, rate=rate)
        owed = "SELECT count(*) FROM subscriptions_delivery WHERE status = 'pending'"
        started_s = time.perf_counter()
        wait_until(
            lambda: bench.platform.rows(owed)[0][0] == 0,
            timeout_s=runs.DRAIN_TIMEOUT_S,
        )
        result["delivered_later_s"] = round(time.perf_counter() - started_s, 1)
        result["delivered"] = subscriber.counts()["posts"]
        bench.platform.api(key, "DELETE", f"/endpoints/{endpoint}/")
    return result


def tls(seconds: float) -> dict[str, Any]:
    """Measure accepting over TLS 1.3 and HTTP/2, and over clear HTTP/1.1."""
    with tempfile.TemporaryDirectory() as folder:
        cert, key = map(str, self_signed(Path(folder)))
        secure = {"GRIDHOOK_TLS_CERT": cert, "GRIDHOOK_TLS_KEY": key}
        encrypted = _accept_by_curl(seconds, secure, certificate=cert)
        clear = _accept_by_curl(seconds, {})
    return {
        "encrypted": encrypted,
        "clear": clear,
        "share": round(encrypted["per_second"] / clear["per_second"], 2),
    }


def knee(bench: runs.Bench, seconds: float, start: float, step: float) -> list[Any]:
    """Raise the load until it breaks; return each step, the last one with how."""
    steps = []
    rate = start
    while True:
        result = runs.end_to_end(bench, seconds, rate=rate)
        result["rate"] = rate
        result["breaks_by"] = _breaks_by(result, rate)
        steps.append(result)
        if result["breaks_by"]:
            return steps
        rate += step


def _breaks_by(result: dict[str, Any], rate: float) -> str:
    refused = sum(n for status, n in result["replies"].items() if status != "202")
    backlog = result["backlog"][-1] if result["backlog"] else 0
    signs = {
        f"{refused} not accepted": refused > 0,
        f"p99 {result['p99_ms']:.0f} ms": result["p99_ms"] > _KNEE_P99_MS,
        f"{backlog} callbacks wait": backlog > rate * _KNEE_BACKLOG_S,
    }
    return ", ".join(sign for sign, is_seen in signs.items() if is_seen)


def _accept_by_curl(
    seconds: float, environment: dict[str, str], certificate: str = ""
) -> dict[str, Any]:
    with running(environment=environment) as platform:
        source = platform.new_source()
        kinds = measure.kinds(platform.pids())
        url = source.url.replace("127.0.0.1", "localhost")
        plan = {
            "url": url,
            "secret": source.secret,
            "run": "curl",
            "seconds": seconds,
            "streams": _STREAMS,
            "certificate": certificate,
        }
        with runs.frozen(kinds.pids["worker"]):
            before = kinds.read()
            result = runs.generate("bench.tls_load", plan)
            return runs.with_costs(result, before, kinds.read())
