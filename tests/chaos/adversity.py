"""A black hole, a rotation, an empty broker, no database: R25 to R28."""

import os
import signal
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import psutil

from tenants.identifiers import public_id
from tests.chaos.crowd import Arrival
from tests.chaos.scenes import Scene, judge, scene
from tests.chaos.site import Site
from tests.chaos.staging import Report, Stage, p99
from tests.delivery_oracle import Subscriber, verifies
from tests.processes import wait_until

#: How much slower the others may be, and what noise adds.
SLOWER = 2.0
NOISE_S = 0.25
#: Callbacks a second; each is told to every receiver.
RATE = 10.0
#: Pending when the broker is emptied.
PENDING = 1_000
#: A restart of the deliverer, a sweep, and the deliveries themselves.
FOUND_S = 30.0


def black_hole(stage: Stage) -> Report:
    """Have one receiver of many never answer: the others do not notice."""
    report = Report()
    count = 20 if stage.is_short else 100
    changes = "hasty,unfair" if stage.is_control else "hasty"
    kinds = ["hangs", *["good"] * count]
    with scene(stage, kinds, is_deadly=True, changes=changes) as here:
        hole, *others = here.subscribers
        _want(here, hole, "endpoint.test")
        # What it learns of each receiver comes first.
        _p99_of(here, others, 0.5)
        usual_s = _p99_of(here, others, stage.seconds / 2)
        _want(here, hole, "callback.*")
        slower_s = _p99_of(here, others, stage.seconds)
        report.figures["p99 before, s"] = usual_s
        report.most("p99 beside it, s", slower_s, usual_s * SLOWER + NOISE_S)
        opened = wait_until(lambda: _breaker(here, hole) != "closed", timeout_s=FOUND_S)
        report.least("its breaker opens", opened, 1)
    return report


def _want(here: Scene, one: Subscriber, event_type: str) -> None:
    """Have a receiver hear of one type alone."""
    path = f"/endpoints/{one.public_id}/"
    wanted = {"event_types": [event_type]}
    here.site.platform.api(here.source.api_key, "PATCH", path, wanted)


def _p99_of(here: Scene, subscribers: Sequence[Subscriber], seconds: float) -> float:
    """Post for a while; return how long messages took from their making, at worst."""
    known = set(here.crowd.arrivals)
    here.post_for(seconds, RATE)
    paths = {one.path for one in subscribers}
    made_s = _made(here)
    wanted = {
        (path, one) for path in paths for one in made_s if (path, one) not in known
    }
    wait_until(lambda: wanted <= here.crowd.arrivals.keys(), timeout_s=FOUND_S)
    return p99([here.crowd.arrivals[key][0].at_s - made_s[key[1]] for key in wanted])


def _made(here: Scene) -> dict[str, float]:
    """Return when each message was made, once all are."""

    def made() -> list[tuple[object, ...]]:
        return here.site.platform.rows(
            """SELECT m.id, extract(epoch FROM m.created_at)::float8
            FROM subscriptions_message m JOIN tenants_tenant t ON t.id = m.tenant_id
            WHERE t.slug = %s""",
            here.source.tenant,
        )

    wait_until(lambda: len(made()) >= len(here.receipts), timeout_s=FOUND_S)
    return {public_id("msg", row[0]): float(row[1]) for row in made()}  # type: ignore[arg-type]


def _breaker(here: Scene, hole: Subscriber) -> str:
    path = f"/endpoints/{hole.public_id}/"
    _, found = here.site.platform.api(here.source.api_key, "GET", path)
    return str(found["breaker"])


def rotated(stage: Stage) -> Report:
    """Rotate every secret amid the flow: the old, then the new one verifies all."""
    report = Report()
    third_s = max(stage.seconds / 3, 1.0)
    overlap_s = 0 if stage.is_control else round(third_s) + 1
    with scene(stage, ["good"] * 4) as here:
        here.post_for(third_s, RATE)
        new = {one: _rotate(here, one, overlap_s) for one in here.subscribers}
        here.post_for(third_s, RATE)
        taken_s = time.time()
        ends_s = taken_s + overlap_s
        here.post_for(overlap_s + third_s, RATE)
        wait_until(lambda: here.left() <= 0, timeout_s=FOUND_S)
        for one, secret in new.items():
            arrivals = _arrived(here, one)
            before = [arrival for arrival in arrivals if arrival.at_s < taken_s]
            after = [arrival for arrival in arrivals if arrival.at_s >= taken_s]
            _count(report, "old one fails", one.secret, before)
            _count(report, "new one fails", secret, after)
            late = [arrival for arrival in after if arrival.at_s > ends_s]
            still = sum(verifies(one.secret, arrival) for arrival in late)
            report.most(
                "old one after its end",
                report.figures.get("old one after its end", 0) + still,
                0,
            )
            report.figures["checked"] = report.figures.get("checked", 0) + len(arrivals)
        report.least("checked", report.figures["checked"], 1)
        report.most("secrets in clear", _in_clear(here, [*new.values()]), 0)
    return report


def _count(report: Report, what: str, secret: str, arrivals: Sequence[Arrival]) -> None:
    failed = sum(not verifies(secret, arrival) for arrival in arrivals)
    report.most(what, report.figures.get(what, 0) + failed, 0)


def _arrived(here: Scene, one: Subscriber) -> list[Arrival]:
    return [
        arrival
        for (path, _), arrivals in here.crowd.arrivals.items()
        for arrival in arrivals
        if path == one.path
    ]


def _rotate(here: Scene, one: Subscriber, overlap_s: int) -> str:
    path = f"/endpoints/{one.public_id}/rotate-secret/"
    wanted = {"overlap_s": overlap_s}
    _, made = here.site.platform.api(here.source.api_key, "POST", path, wanted)
    return str(made["secret"])


def _in_clear(here: Scene, secrets: Sequence[str]) -> int:
    rows = here.site.platform.rows("SELECT sealed FROM subscriptions_endpointsecret")
    stored = [bytes(sealed) for (sealed,) in rows]
    return sum(secret.encode() in sealed for secret in secrets for sealed in stored)


def broker_emptied(stage: Stage) -> Report:
    """Empty the broker while a thousand deliveries are pending: a sweep finds them."""
    report = Report()
    site = stage.site
    with scene(stage, ["good"] * 20) as here:
        with site.stopped("deliver-1"):
            here.post(range(PENDING // len(here.subscribers)))
            wait_until(lambda: _pending(here) >= PENDING, timeout_s=FOUND_S)
            report.least("pending", _pending(here), PENDING)
            site.platform.broker().flushall()
            # Nor may one that has a bell already find them.
            site.platform.kill("deliver-1")
        began_s = time.monotonic()
        names = ("beat",) if stage.is_control else ()
        with site.stopped(*names):
            wait_until(lambda: not _pending(here), timeout_s=FOUND_S, pause_s=0.05)
            report.most("found and sent after, s", time.monotonic() - began_s, FOUND_S)
            judge(stage, report, here)
    return report


def _pending(here: Scene) -> int:
    ((found,),) = here.site.platform.rows(
        """SELECT count(*) FROM subscriptions_delivery d
        JOIN tenants_tenant t ON t.id = d.tenant_id
        WHERE t.slug = %s AND d.status = 'pending'""",
        here.source.tenant,
    )
    return int(found)


def database_away(stage: Stage) -> Report:
    """Have no database for a while, with requests on their way; then let it return."""
    report = Report()
    changes = "hasty,forgetful" if stage.is_control else "hasty"
    with scene(stage, ["slow"] * 16, is_deadly=True, changes=changes) as here:
        here.post(range(40))
        wait_until(lambda: here.crowd.in_flight > 0, timeout_s=FOUND_S, pause_s=0.001)
        with without_postgres(stage.site):
            time.sleep(stage.seconds)
        began_s = time.monotonic()
        stage.site.await_whole()
        here.post(range(40, 60))
        report.figures["back after, s"] = time.monotonic() - began_s
        judge(stage, report, here)
    return report


@contextmanager
def without_postgres(site: Site) -> Generator[None]:
    """Kill the database, and keep its supervisor from starting it again."""
    supervisor = psutil.Process(site.pid("console")).parent()
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGSTOP)
    try:
        site.platform.kill("postgres")
        yield
    finally:
        os.kill(supervisor.pid, signal.SIGCONT)
