"""Clocks that are wrong: R22."""

import time
from contextlib import ExitStack

from tests.chaos.deliveries import deliverer, leases_kept
from tests.chaos.site import is_ready
from tests.chaos.staging import Report, Stage, loaded
from tests.chaos.workers import FOUND_S, WORKERS, pending, worker
from tests.processes import free_ports, wait_until

_START_S = 40.0


def skewed(stage: Stage) -> Report:
    """Run workers an hour ahead and behind, and a listener by ten minutes."""
    report = Report()
    site = stage.site
    changes = "own_clock" if stage.is_control else ""
    with ExitStack() as stack:
        ahead, behind = (
            worker(site, f"ingest{hours}", "counted", *shifted(3600 * hours))
            for hours in (1, -1)
        )
        (port,) = free_ports(1)
        listener = site.listener("skewed", port, "", *shifted(600))
        for one in (ahead, behind, listener):
            one.start()
            stack.callback(one.kill)
        leases_kept(
            stage,
            report,
            deliverer(site, "deliver-ahead", changes, *shifted(3600)),
            deliverer(site, "deliver-behind", changes, *shifted(-3600)),
        )
        wait_until(lambda: is_ready(port), timeout_s=_START_S)
        stack.enter_context(site.stopped(*WORKERS))
        wait_until(lambda: "RUN" in behind.log, timeout_s=_START_S)
        with loaded(stage, report, ports=(site.ports[0], port)) as load:
            time.sleep(stage.seconds)
            load.client.stop()
            is_found = wait_until(
                lambda: not pending(site, load.source), timeout_s=FOUND_S
            )
            report.least("found in time", is_found, 1)
        report.figures["turns of the fast"] = ahead.log.count("RUN")
        report.figures["turns of the slow"] = behind.log.count("RUN")
    return report


def shifted(seconds: int) -> list[str]:
    """Return what starts a command with a clock that is wrong by so much."""
    return ["faketime", "--exclude-monotonic", "-f", f"{seconds:+}s"]
