"""Where rows of deliveries take place: a tenant, its receivers, and who delivers."""

import contextlib
import itertools
import os
import signal
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.chaos.crowd import Crowd, gathered
from tests.chaos.postgres import post_all
from tests.chaos.site import Beside, Site
from tests.chaos.staging import Report, Stage
from tests.delivery_oracle import Evidence, Subscriber, judge_deliveries
from tests.oracle import read_ledger
from tests.posting import Client
from tests.processes import PlatformFailed, Source, wait_until

#: Pauses of the deliverers in these rows, in their short and in their long form.
SHORT_SCHEDULE_S = (0.3, 0.3)
LONG_SCHEDULE_S = (0.5, 0.5, 0.5)
#: How long after it is seen at work a deliverer is killed at most: some of its work is
#: done then, for an answer takes 0.1 s, and some is on its way.
LATER_S = 0.3
#: Callbacks posted at once.
WAVE = 60
#: Longer than an attempt may take in these rows (`patched.hasty`).
LEASE_S = 2
#: After a kill: its claims' leases, a start, and the schedule.
_SETTLE_S = 120.0
_IN_FLIGHT_S = 10.0
#: A receiver that was too busy to answer is asked again after 30 s.
_CONSENT_S = 60.0
_LOOK_S = 0.001


@dataclass
class Scene:
    """A tenant of its own, its receivers, and the deliverer that works for them."""

    site: Site
    source: Source
    crowd: Crowd
    subscribers: list[Subscriber]
    #: None: the platform's own.
    deliverer: Beside | None
    client: Client
    ledger: Path
    schedule_s: tuple[float, ...]
    receipts: set[str] = field(default_factory=set)
    posted: int = 0
    kills: int = 0

    def post(self, numbers: Sequence[int]) -> None:
        """Post callbacks, each of which has every receiver told."""
        post_all(self.client, numbers, threads=8)
        told = read_ledger(self.ledger)
        self.receipts = {receipt for one in told.values() for receipt in one.receipts}

    @property
    def child(self) -> int | None:
        """The process that delivers now."""
        if self.deliverer is None:
            return None
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.deliverer.pid).children()
            return children[0].pid if children else None
        return None

    def kill(self, later_s: float) -> bool:
        """Kill the deliverer with requests on their way; False: there are none."""
        end_s = time.monotonic() + _IN_FLIGHT_S
        while time.monotonic() < end_s:
            if not self.crowd.in_flight:
                time.sleep(_LOOK_S)
                continue
            time.sleep(later_s)
            child = self.child
            if child is not None and self.crowd.in_flight:
                os.kill(child, signal.SIGKILL)
                self.kills += 1
                return True
        return False

    def post_for(self, seconds: float, rate: float) -> None:
        """Post at a rate for so long; then learn what was acknowledged."""
        numbers = itertools.count(self.posted)
        end_s = time.monotonic() + seconds
        for number in numbers:
            self.client.post_number(number)
            self.posted = number + 1
            if time.monotonic() > end_s:
                break
            time.sleep(1 / rate)
        self.post([])

    def left(self) -> int:
        """Return how many deliveries are not settled, or not made yet."""
        ((settled,),) = self.site.platform.rows(
            """SELECT count(*) FROM subscriptions_delivery d
            JOIN tenants_tenant t ON t.id = d.tenant_id
            WHERE t.slug = %s AND d.status IN ('delivered', 'dead')""",
            self.source.tenant,
        )
        return len(self.receipts) * len(self.subscribers) - int(settled)


def judge(stage: Stage, report: Report, here: Scene) -> None:
    """Wait until everything is settled, and judge."""
    began_s = time.monotonic()
    settle_s = stage.settle_s if stage.is_control else _SETTLE_S
    wait_until(lambda: here.left() <= 0, timeout_s=settle_s)
    report.figures["kills"] = here.kills
    report.figures["worked_off_s"] = time.monotonic() - began_s
    evidence = Evidence(
        here.site.platform,
        here.source,
        here.crowd,
        here.subscribers,
        here.receipts,
        len(here.schedule_s) + 1,
    )
    verdict = judge_deliveries(evidence)
    report.figures.update({name: float(value) for name, value in vars(verdict).items()})
    report.broken += [f"{what}: {count}" for what, count in verdict.faults.items()]
    report.least("deliveries expected", verdict.expected, 1)


@contextmanager
def scene(
    stage: Stage, kinds: Sequence[str], *, is_deadly: bool = False, changes: str = ""
) -> Generator[Scene]:
    """
    Subscribe a receiver of each kind.

    `is_deadly`: a deliverer takes the platform's place that may be killed.
    `changes`: what is changed in it (`tests.chaos.patched`).
    """
    site = stage.site
    source, ledger = site.new_stranger(), stage.ledger()
    with ExitStack() as stack:
        crowd = stack.enter_context(gathered())
        subscribers = [
            _subscribed(site, source, crowd, f"/{kind}/{number}")
            for number, kind in enumerate(kinds)
        ]
        stack.callback(_unsubscribe, site, source, subscribers)
        wait_until(lambda: not _waiting(site, source), timeout_s=_CONSENT_S)
        if waiting := _waiting(site, source):
            raise PlatformFailed(f"Without consent: {waiting}")
        schedule_s = SHORT_SCHEDULE_S if stage.is_short else LONG_SCHEDULE_S
        deliverer = None
        if is_deadly:
            stack.enter_context(site.stopped("deliver-1"))
            deliverer = respawning(site, schedule_s, changes)
            deliverer.start()
            stack.callback(deliverer.kill)
        client = Client(source, ledger)
        stack.callback(client.stop)
        yield Scene(
            site, source, crowd, subscribers, deliverer, client, ledger, schedule_s
        )


def respawning(site: Site, schedule_s: Sequence[float], changes: str) -> Beside:
    """Return a deliverer that is started again whenever it is killed."""
    command = [sys.executable, "-m", "tests.chaos.patched", changes, "respawn"]
    return site.beside(
        "respawning",
        command,
        {
            "GRIDHOOK_DELIVERY_LEASE_S": str(LEASE_S),
            "GRIDHOOK_RETRY_SCHEDULE_S": ",".join(map(str, schedule_s)),
        },
    )


def _subscribed(site: Site, source: Source, crowd: Crowd, path: str) -> Subscriber:
    wanted = {"url": crowd.url(path), "event_types": ["callback.*"]}
    _, made = site.platform.api(source.api_key, "POST", "/endpoints/", wanted)
    return Subscriber(made["id"], path, made["secret"])


def _unsubscribe(site: Site, source: Source, subscribers: Sequence[Subscriber]) -> None:
    for one in subscribers:
        site.platform.api(source.api_key, "DELETE", f"/endpoints/{one.public_id}/")


def _waiting(site: Site, source: Source) -> list[str]:
    """Return why receivers are not active yet."""
    rows = site.platform.rows(
        """SELECT e.status, e.status_detail FROM subscriptions_endpoint e
        JOIN tenants_tenant t ON t.id = e.tenant_id
        WHERE t.slug = %s AND e.status <> 'active'""",
        source.tenant,
    )
    return [f"{status}: {detail}" for status, detail in rows]
