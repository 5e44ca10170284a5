"""
What a row works with: its stage, the load on it, and the report that it makes.
"""

import random
import statistics
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from tests.chaos.site import Site
from tests.oracle import Verdict, entries, judge, waiting
from tests.posting import Client, Habits
from tests.processes import Source, wait_until

#: Seconds after the last fault in which everything must have been worked off.
SETTLE_S = 60.0
#: A row with less time than this has its short form.
SHORT_S = 7.0
_ACKNOWLEDGED = (200, 202)


@dataclass
class Report:
    """What a row found out."""

    verdict: Verdict | None = None
    #: What was measured, by name.
    figures: dict[str, float] = field(default_factory=dict)
    #: What did not hold, in words.
    broken: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing was broken."""
        return not self.broken

    def most(self, what: str, value: float, limit: float) -> None:
        """Note a figure that may be this much."""
        self.figures[what] = value
        if value > limit:
            self.broken.append(f"{what} is {value:.3g}, more than {limit:g}")

    def least(self, what: str, value: float, limit: float) -> None:
        """Note a figure that must be this much."""
        self.figures[what] = value
        if value < limit:
            self.broken.append(f"{what} is {value:.3g}, less than {limit:g}")

    def judged(self, verdict: Verdict) -> None:
        """Note the oracle's verdict."""
        self.verdict = verdict
        self.broken += [f"{what}: {count}" for what, count in verdict.faults.items()]
        if not verdict.acknowledged:
            self.broken.append("nothing was acknowledged")


@dataclass
class Stage:
    """Where one row takes place, for how long, and with which luck."""

    site: Site
    folder: Path
    #: Seconds of faults.
    seconds: float
    #: Callbacks a second.
    rate: float
    random: random.Random
    #: Whether the wrong thing is done, so that the row must turn red.
    is_control: bool = False

    def ledger(self) -> Path:
        """Return a file for a client's ledger."""
        return self.folder / f"{uuid4().hex}.ledger"

    @property
    def is_short(self) -> bool:
        """Whether there is time for the essence alone."""
        return self.seconds < SHORT_S

    @property
    def settle_s(self) -> float:
        """Seconds that work may take after the faults."""
        return SETTLE_S / 3 if self.is_control else SETTLE_S

    def pause(self, seconds: float, spread: float = 0.3) -> None:
        """Wait about so long."""
        time.sleep(seconds * self.random.uniform(1 - spread, 1 + spread))

    def turns(self, every_s: float) -> Generator[int]:
        """Yield numbers, one about every so many seconds, and one at least."""
        end_s = time.monotonic() + self.seconds
        turn = 0
        while turn == 0 or time.monotonic() < end_s:
            self.pause(every_s)
            yield turn
            turn += 1


class Load:
    """A client at work, and when it was struck."""

    def __init__(self, stage: Stage, source: Source, client: Client) -> None:
        self.stage = stage
        self.source = source
        self.client = client
        self.ledger = Path()
        #: What ends only after the work was waited for.
        self.stack = ExitStack()
        #: When each fault was over, by the monotonic clock.
        self.struck_s: list[float] = []

    def strike(self, fault: Callable[..., object], *values: object) -> None:
        """Cause a fault; what it takes to recover counts from its end."""
        fault(*values)
        self.struck_s.append(time.monotonic())

    def acknowledged_since(self, moment_s: float) -> bool:
        """Tell whether a post that began later was acknowledged."""
        return any(
            entry["status"] in _ACKNOWLEDGED and entry["began_s"] > moment_s
            for entry in entries(self.ledger)
        )

    def await_recovery(self, timeout_s: float = 30) -> None:
        """Wait until a post that began after the last fault is acknowledged."""
        moment_s = self.struck_s[-1]
        wait_until(lambda: self.acknowledged_since(moment_s), timeout_s=timeout_s)


@contextmanager
def loaded(
    stage: Stage,
    report: Report,
    *,
    habits: Habits | None = None,
    ports: Sequence[int] = (),
    threads: int = 8,
) -> Generator[Load]:
    """Post for the length of the block; then let the work end, and judge."""
    source = stage.site.new_source()
    ledger = stage.ledger()
    client = Client(
        source,
        ledger,
        threads=threads,
        urls=stage.site.urls(source, ports),
        habits=habits or Habits(seed=stage.random.getrandbits(32)),
    )
    load = Load(stage, source, client)
    load.ledger = ledger
    client.start(stage.rate)
    try:
        stage.pause(0.5)
        yield load
        stage.pause(0.5)
        client.stop()
        settle(stage, report, source, ledger)
        report.figures.update(measured(load))
    finally:
        client.stop()
        load.stack.close()


def settle(stage: Stage, report: Report, source: Source, ledger: Path) -> None:
    """Wait until the work is done, and judge."""
    began_s = time.monotonic()
    platform = stage.site.platform
    wait_until(lambda: waiting(platform, source) == 0, timeout_s=stage.settle_s)
    report.figures["worked_off_s"] = time.monotonic() - began_s
    report.judged(judge(platform, source, ledger))
    report.most("not told exactly once", stage.site.wrongly_told(source), 0)


def measured(load: Load) -> Mapping[str, float]:
    """Return what the ledger says about time."""
    lines = entries(load.ledger)
    answered = [one for one in lines if one["status"]]
    acks = [one for one in answered if one["status"] in _ACKNOWLEDGED]
    took = [one["ended_s"] - one["began_s"] for one in answered]
    figures = {"slowest_s": max(took, default=0.0)}
    recoveries = [
        min((one["ended_s"] for one in acks if one["began_s"] > moment), default=0.0)
        - moment
        for moment in load.struck_s
    ]
    if recoveries:
        figures["recovery_s"] = max(recoveries)
    return figures


def p99(seconds: Sequence[float]) -> float:
    """Return the 99th percentile."""
    if len(seconds) < 2:
        return max(seconds, default=0.0)
    return statistics.quantiles(seconds, n=100)[-1]
