"""Listeners that die: R01, R10, R11."""

import signal
import time
from collections.abc import Callable

import psutil

from tests.chaos.site import is_ready
from tests.chaos.staging import Load, Report, Stage, loaded
from tests.oracle import entries
from tests.posting import Habits
from tests.processes import kill_tree, wait_until

#: Share of the callbacks that may be refused by both listeners.
VISIBLE = 0.001
READY_S = 30.0
KILLS = 10


def listeners_killed(stage: Stage) -> Report:
    """Kill one of two listeners after the other, never both."""
    report = Report()
    with loaded(stage, report) as load:
        for turn in stage.turns(every_s=1.5):
            load.strike(_kill_one, stage, turn)
            load.await_recovery()
        # The last one killed is back before the next row.
        stage.site.await_listeners()
    _note_visible(report, load)
    return report


def senders_unsure(stage: Stage) -> Report:
    """Have senders hang up before they hear, and a listener die meanwhile."""
    report = Report()
    habits = Habits(hangs_up=0.3, insists=1.0, seed=stage.random.getrandbits(32))
    with loaded(stage, report, habits=habits) as load:
        for turn in stage.turns(every_s=2):
            if stage.is_short:
                continue
            load.strike(_kill_one, stage, turn)
            load.await_recovery()
        stage.site.await_listeners()
    if report.verdict:
        report.most("still undecided", report.verdict.undecided, 0)
    return report


def killed_ten_times(stage: Stage) -> Report:
    """Kill the supervised listener ten times in a row; it comes back each time."""
    report = Report()
    with loaded(stage, report) as load:
        for _ in range(KILLS // 2 if stage.is_short else KILLS):
            pid = stage.site.pid("listener")
            load.strike(stage.site.platform.kill, "listener")
            _await_successor(stage, pid)
            time.sleep(max(0.0, min(1.0, stage.seconds / KILLS)))
        began_s = time.monotonic()
        stage.site.await_listeners()
        report.most("back_s", time.monotonic() - began_s, READY_S)
    _note_visible(report, load)
    return report


def restarted_in_turn(stage: Stage) -> Report:
    """Ask one listener after the other to end; who tries both sees nothing."""
    report = Report()
    end = kill_tree if stage.is_control else _terminate
    ends = 0
    with loaded(stage, report) as load:
        for ends in stage.turns(every_s=1):
            load.strike(_end_one, stage, ends, end)
            stage.site.await_listeners()
    _note_visible(report, load)
    # The kernel may take one for a listener that has just accepted its last.
    cut = sum(one["was_cut"] for one in entries(load.ledger))
    report.most("cut off", cut, ends + 1)
    return report


def _kill_one(stage: Stage, turn: int) -> None:
    """Kill one listener, once the other answers."""
    site = stage.site
    first, second = site.ports
    wait_until(lambda: is_ready(second if turn % 2 else first), timeout_s=READY_S)
    if turn % 2:
        site.platform.kill("listener")
    else:
        site.second.restart()


def _end_one(stage: Stage, turn: int, end: Callable[[int], None]) -> None:
    """End one listener alone, and have it started again."""
    site = stage.site
    if turn % 2 == 0:
        pid = site.pid("listener")
        end(pid)
        _await_successor(stage, pid)
    else:
        end(site.second.pid)
        site.second.wait(READY_S)
        site.second.start()


def _terminate(pid: int) -> None:
    """Ask a listener to end."""
    psutil.Process(pid).send_signal(signal.SIGTERM)


def _await_successor(stage: Stage, pid: int) -> None:
    """Wait until the supervisor has started the listener again."""
    wait_until(
        lambda: stage.site.pid("listener") != pid, timeout_s=READY_S, pause_s=0.02
    )


def _note_visible(report: Report, load: Load) -> None:
    """Note what a sender saw who asks the other listener when one fails."""
    report.figures["sent"] = load.client.sent
    refused = load.client.refused_by_all
    report.most("refused by both, share", refused / max(load.client.sent, 1), VISIBLE)
