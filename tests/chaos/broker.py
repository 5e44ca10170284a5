"""A broker that is away, emptied, or stands still: R12, R13, R14."""

import time
from collections.abc import Generator
from contextlib import contextmanager

from tests.chaos.site import Site
from tests.chaos.staging import Report, Stage, loaded, p99
from tests.chaos.workers import POLL_S, WORKERS
from tests.oracle import entries
from tests.processes import wait_until

#: No reply may wait for the broker.
REPLY_S = 1.0
#: How much slower the 99th percentile may be without a broker, and what noise adds.
SLOWER = 1.2
NOISE_S = 0.1
#: Until a bell that was asked for has been rung, and some.
RUNG_S = 0.3
_SMALL = "1mb"


def away(stage: Stage) -> Report:
    """Have no broker at all; then let it come back."""
    report = Report()
    with loaded(stage, report) as load:
        time.sleep(stage.seconds / 2)
        with without_redis(stage.site):
            away_s = time.monotonic()
            time.sleep(stage.seconds)
            # What is left now rings no more: the sweep has to find it.
            load.client.stop()
    lines = entries(load.ledger)
    took = {
        name: [
            one["ended_s"] - one["began_s"]
            for one in lines
            if (one["began_s"] > away_s) == is_away
        ]
        for name, is_away in (("with", False), ("without", True))
    }
    usual_s = p99(took["with"])
    report.figures["p99 with, s"] = usual_s
    report.most("p99 without, s", p99(took["without"]), usual_s * SLOWER + NOISE_S)
    return report


def wiped(stage: Stage) -> Report:
    """Empty the broker again and again under load, and of the last bells."""
    report = Report()
    broker = stage.site.platform.broker()
    with loaded(stage, report) as load:
        if stage.is_control:
            load.stack.enter_context(stage.site.stopped("beat"))
        for _ in stage.turns(every_s=0.5 if stage.is_short else 5):
            load.strike(broker.flushall)
        with stage.site.stopped(*WORKERS):
            # Until no worker asks for a bell any more, so that the queue has the rest.
            time.sleep(POLL_S)
            load.client.stop()
            time.sleep(RUNG_S)
            broker.flushall()
            # Nor may one that was at it find the rest.
            for name in WORKERS:
                stage.site.platform.kill(name)
    return report


def hanging(stage: Stage) -> Report:
    """Stop the broker, pause its clients, and leave it no memory."""
    report = Report()
    site = stage.site
    broker = site.platform.broker()
    each_s = stage.seconds / 3
    with loaded(stage, report):
        with site.stopped("redis"):
            time.sleep(each_s)
        broker.client_pause(round(each_s * 1000), all=False)
        time.sleep(each_s)
        usual = broker.config_get("maxmemory")["maxmemory"] or "0"
        # Less than it uses as it is: every write is refused from now on.
        broker.config_set("maxmemory", _SMALL)
        try:
            time.sleep(each_s)
        finally:
            broker.config_set("maxmemory", usual)
    report.most("slowest reply, s", report.figures["slowest_s"], REPLY_S)
    return report


@contextmanager
def without_redis(site: Site) -> Generator[None]:
    """
    End the broker and keep it away for the block.

    A folder takes the place of its socket, so that the supervisor starts it in vain.
    """
    path = site.platform.broker_path
    site.platform.kill("redis")
    path.unlink(missing_ok=True)
    path.mkdir()
    try:
        site.platform.kill("redis")
        yield
    finally:
        path.rmdir()
        wait_until(path.is_socket, timeout_s=30, pause_s=0.05)
