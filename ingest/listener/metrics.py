"""
What a listener process counts, and how the workers of one port answer as one.

What is counted for each request is a plain addition; the collectors below make
Prometheus' families of it when somebody looks. Names: docs/reference/metrics.md
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped there
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

#: Tenants that a worker counts by themselves, the first that it meets; the rest is
#: `other`, so that the number of series is bounded and no counter ever falls.
TENANTS_NAMED = 100
OTHER = "other"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

BATCH_SIZE = Histogram(
    "gridhook_listener_batch_callbacks",
    "Callbacks in a commit.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
    registry=REGISTRY,
)
COMMIT_SECONDS = Histogram(
    "gridhook_listener_commit_seconds",
    "Time from a batch's statement to its commit.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
QUEUE_DEPTH = Gauge(
    "gridhook_listener_queue_callbacks",
    "Callbacks that wait for their commit.",
    registry=REGISTRY,
)
QUEUE_AGE_SECONDS = Gauge(
    "gridhook_listener_queue_age_seconds",
    "How long the callback has waited for its commit that waits longest.",
    registry=REGISTRY,
)
HELD_BYTES = Gauge(
    "gridhook_listener_held_bytes",
    "Bytes of bodies that wait for their reply.",
    registry=REGISTRY,
)
REFUSALS_UNWRITTEN = Counter(
    "gridhook_listener_refusals_suppressed_total",
    "Refusals that left no line in the log.",
    registry=REGISTRY,
)
DRAINING = Gauge(
    "gridhook_listener_draining",
    "1 while the listener is being taken out of service.",
    registry=REGISTRY,
)


class Sources:
    """How often a source was known, and how many are; `sources` counts here."""

    __slots__ = ("hits", "misses", "size")

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        self.size = 0

    def collect(self) -> Iterator[Metric]:
        """Return the families."""
        lookups = CounterMetricFamily(
            "gridhook_listener_source_lookups",
            "Looks for a source: `hit` from memory, `miss` from Postgres.",
            labels=["result"],
        )
        lookups.add_metric(["hit"], self.hits)
        lookups.add_metric(["miss"], self.misses)
        yield lookups
        yield GaugeMetricFamily(
            "gridhook_listener_sources_known", "Sources in memory.", self.size
        )


class Replies:
    """How callbacks were answered, and how long that took."""

    def __init__(self) -> None:
        self.counts: dict[tuple[int, str], int] = defaultdict(int)
        self._buckets = [0] * (len(_SECONDS) + 1)
        self._sum_s = 0.0

    def count_time(self, seconds: float) -> None:
        """Count how long a request took."""
        self._buckets[bisect_left(_SECONDS, seconds)] += 1
        self._sum_s += seconds

    def collect(self) -> Iterator[Metric]:
        """Return the families."""
        replies = CounterMetricFamily(
            "gridhook_listener_replies",
            "Replies to callbacks, by status and code.",
            labels=["status", "code"],
        )
        for (status, code), count in sorted(self.counts.items()):
            replies.add_metric([str(status), code], count)
        yield replies
        times = HistogramMetricFamily(
            "gridhook_listener_request_seconds",
            "Time from a request's head to its reply.",
        )
        times.add_metric([], list(self._cumulated()), self._sum_s)
        yield times

    def _cumulated(self) -> Iterator[tuple[str, float]]:
        total = 0
        limits = (*(str(float(limit)) for limit in _SECONDS), "+Inf")
        for limit, count in zip(limits, self._buckets, strict=True):
            total += count
            yield limit, total


class Tenants:
    """What each tenant sent and had accepted, within a bound of series."""

    def __init__(self) -> None:
        self._other = [0, 0]
        self._counts: dict[int, list[int]] = {}

    def count(self, tenant_id: int, body_bytes: int) -> None:
        """Count an accepted callback."""
        counts = self._counts.get(tenant_id)
        if counts is None:
            counts = self._counts_of_stranger(tenant_id)
        counts[0] += 1
        counts[1] += body_bytes

    def _counts_of_stranger(self, tenant_id: int) -> list[int]:
        if len(self._counts) >= TENANTS_NAMED:
            return self._other
        return self._counts.setdefault(tenant_id, [0, 0])

    def collect(self) -> Iterator[Metric]:
        """Return the families."""
        callbacks = CounterMetricFamily(
            "gridhook_listener_accepted_callbacks",
            "Callbacks that were accepted, by tenant.",
            labels=["tenant"],
        )
        sizes = CounterMetricFamily(
            "gridhook_listener_accepted_bytes",
            "Bytes of the bodies that were accepted, by tenant.",
            labels=["tenant"],
        )
        named = {str(tenant): counts for tenant, counts in self._counts.items()}
        for tenant, (count, size) in {**named, OTHER: self._other}.items():
            callbacks.add_metric([tenant], count)
            sizes.add_metric([tenant], size)
        yield callbacks
        yield sizes


class _Plain(Collector):
    """The figures that are kept as plain numbers, as Prometheus wants them."""

    def collect(self) -> Iterable[Metric]:
        """Return all families."""
        for kept in (_replies, SOURCES, _tenants):
            yield from kept.collect()


SOURCES = Sources()
_replies = Replies()
_tenants = Tenants()
REGISTRY.register(_Plain())

count_time = _replies.count_time
count_accepted = _tenants.count


def count_reply(status: int, code: str) -> None:
    """Count one reply to a callback."""
    _replies.counts[status, code] += 1


class _Labelled(Collector):
    """The registry's families, with the worker that counted them."""

    def __init__(self, worker: int) -> None:
        self._worker = str(worker)

    def collect(self) -> Iterable[Metric]:
        """Return all families."""
        for family in REGISTRY.collect():
            family.samples = [
                sample._replace(labels={**sample.labels, "worker": self._worker})
                for sample in family.samples
            ]
            yield family


def exposition(worker: int) -> bytes:
    """Return what this worker counted, as Prometheus reads it."""
    return generate_latest(_Labelled(worker))


def merged(expositions: Iterable[bytes]) -> bytes:
    """Return several workers' expositions as one: each family's samples together."""
    families: dict[bytes, tuple[list[bytes], list[bytes]]] = {}
    for text in expositions:
        heads: list[bytes] = []
        samples: list[bytes] = []
        for line in text.splitlines(keepends=True):
            if line.startswith(b"# HELP "):
                name = line.split(b" ", 3)[2]
                heads, samples = families.setdefault(name, ([], []))
            if line.startswith(b"#"):
                if line not in heads:
                    heads.append(line)
            else:
                samples.append(line)
    return b"".join(
        b"".join((*heads, *samples)) for heads, samples in families.values()
    )
