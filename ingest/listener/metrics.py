"""
What a listener process counts. Each worker process answers `/metrics` for itself.

The label `pid` tells the workers of one port apart. Names: docs/reference/listener.md
"""

import os

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped there
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
_PID = str(os.getpid())

_REPLIES = Counter(
    "gridhook_listener_replies_total",
    "Replies to callbacks, by status and code.",
    ["pid", "status", "code"],
    registry=REGISTRY,
)
BATCH_SIZE = Histogram(
    "gridhook_listener_batch_callbacks",
    "Callbacks in a commit.",
    ["pid"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
    registry=REGISTRY,
).labels(_PID)
COMMIT_SECONDS = Histogram(
    "gridhook_listener_commit_seconds",
    "Time from a batch's statement to its commit.",
    ["pid"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    registry=REGISTRY,
).labels(_PID)
QUEUE_DEPTH = Gauge(
    "gridhook_listener_queue_callbacks",
    "Callbacks that wait for their commit.",
    ["pid"],
    registry=REGISTRY,
).labels(_PID)
HELD_BYTES = Gauge(
    "gridhook_listener_held_bytes",
    "Bytes of bodies that wait for their reply.",
    ["pid"],
    registry=REGISTRY,
).labels(_PID)

_counters: dict[tuple[int, str], Counter] = {}


def count_reply(status: int, code: str) -> None:
    """Count one reply."""
    counter = _counters.get((status, code))
    if counter is None:
        counter = _counters[status, code] = _REPLIES.labels(_PID, str(status), code)
    counter.inc()


def exposition() -> bytes:
    """Return all of it as Prometheus reads it."""
    return generate_latest(REGISTRY)
