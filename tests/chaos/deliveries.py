"""A deliverer that stands still past its lease: R18b; and leases by clocks: R22."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from subscriptions.tests.receivers import (
    Received,
    Receiver,
    Reply,
    consenting,
    receiving,
)
from tests.chaos.postgres import post_all
from tests.chaos.site import Beside, Site, frozen
from tests.chaos.staging import Report, Stage, settle
from tests.posting import Client
from tests.processes import PlatformFailed, Source, wait_until

#: A worker that knows nothing of an endpoint sends it a few messages at a time.
ENDPOINTS = 20
EACH = 5
ALL = ENDPOINTS * EACH
SHORT_LEASE_S = 2
_ANSWER_S = 40.0


@dataclass
class Holding:
    """A receiver's behaviour: consents, and holds messages back until it lets go."""

    answer: Reply = field(default_factory=Reply)
    is_holding: bool = False
    let_go: threading.Event = field(default_factory=threading.Event)

    def __call__(self, received: Received) -> Reply:
        """Answer one request."""
        if received.method != "POST":
            return consenting(received)
        if not self.is_holding:
            return Reply()
        self.let_go.wait(_ANSWER_S)
        return self.answer


def stopped_past_its_lease(stage: Stage) -> Report:
    """Stop a deliverer with 100 requests on their way; another delivers them."""
    report = Report()
    site = stage.site
    source, ledger = site.new_source(), stage.ledger()
    client = Client(source, ledger)
    behave = Holding(answer=Reply(500), is_holding=True)
    zombie = deliverer(site, "zombie", "unfenced" if stage.is_control else "")
    with receiving(behave) as receiver, subscribed(site, source, receiver, ENDPOINTS):
        with site.stopped("deliver-1"):
            post_all(client, range(EACH), threads=8)
            zombie.start()
            arrived = wait_until(lambda: len(receiver.posts()) >= ALL, timeout_s=30)
            if not arrived:
                raise PlatformFailed(zombie.log)
            behave.is_holding = False
            stopped = frozen(zombie.pid)
            stopped.__enter__()
        wait_until(lambda: _delivered(site, source) == ALL, timeout_s=30)
        behave.let_go.set()
        stopped.__exit__(None, None, None)
        zombie.wait(30)
        refused = zombie.log.count("Late result of delivery")
        report.least("late results refused", refused, ALL)
        report.least("delivered", _delivered(site, source), ALL)
    client.stop()
    settle(stage, report, source, ledger)
    return report


def deliverer(site: Site, name: str, changes: str, *before: str) -> Beside:
    """Return a process that delivers once what is due; it is not started."""
    command = [*before, sys.executable, "-m", "tests.chaos.patched", changes, "deliver"]
    return site.beside(name, command, {"GRIDHOOK_DELIVERY_LEASE_S": str(SHORT_LEASE_S)})


def leases_kept(stage: Stage, report: Report, *skewed: Beside) -> None:
    """Run deliverers while another has all under its lease: they take nothing."""
    site = stage.site
    source, ledger = site.new_source(), stage.ledger()
    client = Client(source, ledger)
    behave = Holding(is_holding=True)
    with receiving(behave) as receiver, subscribed(site, source, receiver, ENDPOINTS):
        post_all(client, range(EACH), threads=8)
        wait_until(lambda: len(receiver.posts()) >= ALL, timeout_s=30)
        for one in skewed:
            one.start()
        # A thief would wait for its own answers until the receiver lets go.
        time.sleep(SHORT_LEASE_S)
        wait_until(lambda: all(one.has_ended for one in skewed), timeout_s=10)
        behave.let_go.set()
        wait_until(lambda: _delivered(site, source) == ALL, timeout_s=30)
        sent = Counter(
            (one.path, one.headers["webhook-id"]) for one in receiver.posts()
        )
    report.most("leases stolen", sum(sent.values()) - len(sent), 0)
    client.stop()


@contextmanager
def subscribed(
    site: Site, source: Source, receiver: Receiver, count: int
) -> Generator[None]:
    """Subscribe a receiver's addresses for the block."""
    ids = []
    for number in range(count):
        wanted = {
            "url": f"{receiver.url}?{number}",
            "event_types": ["callback.processed"],
        }
        _, reply = site.platform.api(source.api_key, "POST", "/endpoints/", wanted)
        ids.append(reply["id"])
    try:
        wait_until(lambda: _active(site, source) >= count, timeout_s=30)
        yield
    finally:
        for one in ids:
            site.platform.api(source.api_key, "DELETE", f"/endpoints/{one}/")


def _active(site: Site, source: Source) -> int:
    ((found,),) = site.platform.rows(
        """SELECT count(*) FROM subscriptions_endpoint e
        JOIN tenants_tenant t ON t.id = e.tenant_id
        WHERE t.slug = %s AND e.status = 'active' AND e.deleted_at IS NULL""",
        source.tenant,
    )
    return int(found)


def _delivered(site: Site, source: Source) -> int:
    """Return the deliveries to addresses that are still subscribed."""
    ((found,),) = site.platform.rows(
        """SELECT count(*) FROM subscriptions_delivery d
        JOIN subscriptions_endpoint e
            ON e.tenant_id = d.tenant_id AND e.id = d.endpoint_id
        JOIN tenants_tenant t ON t.id = d.tenant_id
        WHERE t.slug = %s AND d.status = 'delivered' AND e.deleted_at IS NULL""",
        source.tenant,
    )
    return int(found)
