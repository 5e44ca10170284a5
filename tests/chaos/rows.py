"""The table of rows: what is done, for how long, and what must turn it red."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.chaos import (
    adversity,
    broker,
    clocks,
    deliveries,
    disk,
    dying,
    ids,
    listener_deaths,
    poison,
    postgres,
    workers,
)
from tests.chaos.site import own_disk
from tests.chaos.staging import Report, Stage

EARLY = "tests.early_listener:listener"
RINGING = "tests.chaos.ringing_listener:listener"
_UNSAFE = {"GRIDHOOK_ALLOW_UNSAFE_COMMIT": "1"}


@dataclass(frozen=True)
class Row:
    """One row: a fault, the scenario that causes it, and its negative control."""

    id: str
    fact: str
    run: Callable[[Stage], Report]
    #: Seconds of faults in `make test` and in `make chaos`.
    short_s: float
    long_s: float
    #: What is done wrongly for the control; empty: there is none.
    control: str = ""
    #: What the control's platform must allow or be.
    control_environment: Mapping[str, str] = field(default_factory=dict)
    control_listener: str = ""
    needs: tuple[str, ...] = ()
    #: Callbacks a second, as a share of what was asked for.
    load: float = 1.0

    @property
    def missing(self) -> str:
        """What this machine lacks for the row; empty: nothing."""
        for tool in self.needs:
            if tool == "disk" and not own_disk():
                return "root, and mounts of its own"
            if tool == "root" and os.geteuid() != 0:
                return "root"
            if tool not in {"disk", "root"} and not shutil.which(tool):
                return f"the command {tool!r}"
        return ""


_ALL = (
    Row(
        "R01",
        "two listeners, one killed after the other",
        listener_deaths.listeners_killed,
        2,
        60,
        control="the second listener answers before the commit",
        control_listener=EARLY,
    ),
    Row(
        "R02",
        "database backends and the whole server killed",
        postgres.killed,
        3,
        60,
        control="synchronous_commit=off",
        control_environment=_UNSAFE,
    ),
    Row(
        "R03",
        "no acknowledgement before the flush",
        postgres.flush_delayed,
        0,
        0,
        control="synchronous_commit=off",
        control_environment=_UNSAFE,
        needs=("strace", "root"),
    ),
    Row(
        "R04",
        "a flush fails once",
        postgres.flush_failed,
        0,
        0,
        control="synchronous_commit=off",
        control_environment=_UNSAFE,
        needs=("strace", "root"),
    ),
    Row(
        "R05",
        "the database's disk is full",
        disk.full,
        2,
        30,
        control="the second listener answers before the commit",
        control_listener=EARLY,
        needs=("disk",),
    ),
    Row(
        "R06",
        "the database stands still",
        postgres.frozen,
        5,
        30,
        control="the second listener answers before the commit",
        control_listener=EARLY,
    ),
    Row(
        "R07",
        "64 clients post the same callbacks at once",
        ids.stormed,
        1,
        100,
        control="a unique constraint that never applies",
    ),
    Row(
        "R08",
        "an id is used again for something else",
        ids.reused,
        3,
        30,
        control="a unique constraint without tenant and source",
    ),
    Row(
        "R09",
        "an id is used again after midnight, a month, the retention, restarts",
        ids.reused_late,
        0,
        0,
        control="ids are forgotten with their bodies",
    ),
    Row(
        "R10",
        "senders hang up before they hear",
        listener_deaths.senders_unsure,
        2,
        60,
        control="the second listener answers before the commit",
        control_listener=EARLY,
    ),
    Row(
        "R11a",
        "the supervised listener killed ten times",
        listener_deaths.killed_ten_times,
        2,
        10,
    ),
    Row(
        "R11b",
        "listeners restarted in turn",
        listener_deaths.restarted_in_turn,
        0.5,
        30,
        control="SIGKILL in place of SIGTERM",
    ),
    Row(
        "R12",
        "no broker for the run",
        broker.away,
        2,
        60,
        control="the second listener rings in the request",
        control_listener=RINGING,
    ),
    Row("R13", "the broker is emptied", broker.wiped, 2, 60, control="no sweep"),
    Row(
        "R14",
        "the broker stands still, takes no writes, has no memory",
        broker.hanging,
        3,
        180,
        control="the second listener rings in the request",
        control_listener=RINGING,
    ),
    Row(
        "R16",
        "workers killed",
        workers.killed,
        1,
        60,
        control="a worker that takes callbacks off the queue first",
    ),
    Row(
        "R17",
        "a bell dies with its worker",
        workers.bell_lost,
        4,
        40,
        control="no sweep",
    ),
    Row(
        "R18a",
        "a worker stopped inside its batch",
        workers.stopped_in_batch,
        1,
        90,
    ),
    Row(
        "R18b",
        "a deliverer stopped past its lease",
        deliveries.stopped_past_its_lease,
        0,
        0,
        control="results count whatever their fencing token",
    ),
    Row(
        "R19",
        "a message given again while its worker is at it",
        workers.told_twice,
        1,
        60,
        control="callbacks are taken without a lock",
    ),
    Row(
        "R20a",
        "callbacks that ruin their worker",
        poison.swallowed,
        1,
        60,
        control="nothing is ever set aside",
    ),
    Row(
        "R20b",
        "the database lost at the nth statement, for every n",
        poison.cut_anywhere,
        0,
        0,
    ),
    Row(
        "R22",
        "clocks that are an hour ahead and behind",
        clocks.skewed,
        1,
        30,
        control="leases by the process's own clock",
        needs=("faketime",),
    ),
    Row(
        "R24a",
        "a hundred receivers of all kinds, the deliverer killed",
        dying.bad_receivers,
        2,
        60,
        control="a deliverer that counts a claim as a delivery",
    ),
    Row(
        "R24b",
        "the deliverer killed with requests on their way",
        dying.killed_mid_post,
        0,
        200,
        control="a deliverer that counts a claim as a delivery",
    ),
    Row(
        "R24c",
        "the broker emptied with 1,000 deliveries pending",
        adversity.broker_emptied,
        0,
        0,
        control="no sweep",
    ),
    Row(
        "R24d",
        "no database while deliveries are on their way",
        adversity.database_away,
        3,
        60,
        control="a deliverer that counts a claim as a delivery",
    ),
    Row(
        "R25",
        "one receiver of a hundred that never answers",
        adversity.black_hole,
        2,
        40,
        control="a deliverer that takes turns with nobody",
    ),
    Row(
        "R28",
        "secrets rotated amid the flow",
        adversity.rotated,
        1,
        30,
        control="a rotation without overlap",
    ),
)
ROWS = {row.id: row for row in _ALL}
