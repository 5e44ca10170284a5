"""Workers that die, stand still, or are told twice: R16, R17, R18, R19."""

import re
import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack
from functools import partial

import psutil
import redis

from tests.chaos.postgres import post_all
from tests.chaos.site import Beside, Site, frozen
from tests.chaos.staging import Report, Stage, loaded, settle
from tests.oracle import waiting
from tests.posting import Client
from tests.processes import PlatformFailed, Source, wait_until

WORKERS = ("ingest-1", "ingest-2")
#: The site's sweep, and what a noisy machine adds.
SWEEP_S = 1.0
FOUND_S = SWEEP_S + 5.0
TRIES = 20
#: What a worker asks the broker at a time, and some.
POLL_S = 1.5
_RUN = re.compile(r"RUN (\S+)")
#: Postgres ends a transaction that idles for this long.
IDLE_LIMIT_S = 60.0


def killed(stage: Stage) -> Report:
    """Kill both workers with all their children, again and again."""
    report = Report()
    with ExitStack() as stack:
        wrong = None
        if stage.is_control:
            stack.enter_context(stage.site.stopped(*WORKERS))
            wrong = worker(stage.site, "wrong", "popped,slow")
            wrong.start()
            stack.callback(wrong.kill)
        with loaded(stage, report) as load:
            for _ in stage.turns(every_s=1.5 if stage.is_short else 3):
                if wrong is not None:
                    load.strike(wrong.restart)
                else:
                    for name in WORKERS:
                        load.strike(stage.site.platform.kill, name)
            if wrong is not None:
                time.sleep(10)
    return report


def bell_lost(stage: Stage) -> Report:
    """Kill a worker that the broker has just given the only bell."""
    report = Report()
    site = stage.site
    source, ledger = site.new_source(), stage.ledger()
    client = Client(source, ledger)
    rounds = max(1, round(stage.seconds / 4))
    for number in range(rounds):
        with ExitStack() as beat:
            beat.enter_context(site.stopped("beat"))
            with site.stopped("ingest-2"):
                # Until the broker has given up giving it the next bell.
                time.sleep(POLL_S)
                _lose_a_bell(site, client, number)
            if not stage.is_control:
                beat.close()
            began_s = time.monotonic()
            wait_until(
                lambda: waiting(site.platform, source) == 0,
                timeout_s=FOUND_S * 2,
                pause_s=0.05,
            )
        took_s = time.monotonic() - began_s
        report.most(f"found after, s ({number})", took_s, FOUND_S)
    client.stop()
    settle(stage, report, source, ledger)
    return report


def stopped_in_batch(stage: Stage) -> Report:
    """Stop a worker inside its transaction: others go on, and nothing is doubled."""
    report = Report()
    site = stage.site
    source, ledger = site.new_source(), stage.ledger()
    client = Client(source, ledger)
    # Its devices are known, as in any day but the first.
    post_all(client, range(80), threads=8)
    wait_until(lambda: waiting(site.platform, source) == 0, timeout_s=FOUND_S * 2)
    with ExitStack() as zombie:
        with site.stopped("ingest-2"):
            backend = _stop_in_transaction(site, client, zombie, range(80, 100))
        began_s = time.monotonic()
        post_all(client, range(100, 140), threads=8)
        held = 20
        wait_until(
            lambda: pending(site, source) <= held, timeout_s=IDLE_LIMIT_S, pause_s=0.05
        )
        report.most("others waited, s", time.monotonic() - began_s, FOUND_S)
        report.least("held meanwhile", pending(site, source), held)
        if stage.seconds < IDLE_LIMIT_S:
            # What the server does itself once the transaction has idled for its limit.
            end_backend(site, backend)
        wait_until(lambda: pending(site, source) == 0, timeout_s=IDLE_LIMIT_S + FOUND_S)
        report.figures["held for, s"] = time.monotonic() - began_s
    client.stop()
    settle(stage, report, source, ledger)
    return report


def told_twice(stage: Stage) -> Report:
    """Have the broker give a message again while its worker is still at it."""
    report = Report()
    site = stage.site
    source, ledger = site.new_source(), stage.ledger()
    client = Client(source, ledger)
    changes = "impatient,counted,slow" + (",unlocked" if stage.is_control else "")
    pair = [worker(site, f"impatient{n}", changes) for n in range(2)]
    with site.stopped(*WORKERS), ExitStack() as stack:
        for one in pair:
            stack.callback(one.kill)
            one.start()
        wait_until(lambda: all("RUN" in one.log for one in pair), timeout_s=40)
        for number in range(max(1, round(stage.seconds / 20))):
            client.post_number(number)
            wait_until(lambda: waiting(site.platform, source) == 0, timeout_s=60)
        # The second of two that took it at once may still be at it.
        wait_until(lambda: not _transactions(site), timeout_s=30)
    runs = Counter(_RUN.findall("".join(one.log for one in pair)))
    report.least("messages run again", sum(n > 1 for n in runs.values()), 1)
    client.stop()
    settle(stage, report, source, ledger)
    return report


def worker(site: Site, name: str, changes: str, *before: str) -> Beside:
    """Return a worker of callbacks in which something is changed; it is not started."""
    command = [
        *before, sys.executable, "-m", "tests.chaos.patched", changes,
        "--queues", "ingest", "--pool", "solo", "--hostname", f"{name}@%h",
        "--loglevel", "WARNING",
        "--without-gossip", "--without-mingle", "--without-heartbeat",
    ]  # fmt: skip
    ignored = "ignore:You're running the worker with superuser privileges"
    return site.beside(name, command, {"PYTHONWARNINGS": ignored})


def pending(site: Site, source: Source) -> int:
    """Return how many callbacks of a tenant are not processed."""
    ((left,),) = site.platform.rows(
        """SELECT count(*) FROM ingest_pendingcallback p
        JOIN tenants_tenant t ON t.id = p.tenant_id WHERE t.slug = %s""",
        source.tenant,
    )
    return int(left)


def end_backend(site: Site, pid: int) -> None:
    """End one session of the database, as the server does to one that idles."""
    site.platform.rows("SELECT pg_terminate_backend(%s)", pid)


def _lose_a_bell(site: Site, client: Client, number: int) -> None:
    """
    Kill the worker while a bell is in its hands and nowhere else.

    Raises: PlatformFailed: the broker kept the bell each time.
    """
    broker = site.platform.broker()
    for turn in range(TRIES):
        wait_until(lambda: not broker.llen("ingest"), timeout_s=10, pause_s=0.02)
        unacked, rung = broker.hlen("unacked"), _rung(broker)
        pid = site.pid("ingest-1")
        with frozen(pid):
            client.post_number(number + turn * 1_000)
            wait_until(partial(_has_rung, broker, rung), timeout_s=5, pause_s=0.01)
            if not broker.llen("ingest") and broker.hlen("unacked") == unacked:
                psutil.Process(pid).send_signal(signal.SIGKILL)
                return
    raise PlatformFailed("No bell was lost")


def _rung(broker: "redis.Redis") -> int:
    """Return how many messages the broker was ever given."""
    return int(broker.info("commandstats").get("cmdstat_lpush", {}).get("calls", 0))


def _has_rung(broker: "redis.Redis", before: int) -> bool:
    return _rung(broker) > before


def _stop_in_transaction(
    site: Site, client: Client, stack: ExitStack, numbers: range
) -> int:
    """
    Stop the first worker while it waits inside its batch; return its backend.

    It waits for a lock that is released once it stands still.
    """
    with site.platform.database() as owner, owner.transaction():
        with site.stopped("ingest-1"):
            post_all(client, numbers, threads=8)
            owner.execute("LOCK TABLE ingest_usagemark IN EXCLUSIVE MODE")
        wait_until(lambda: bool(_locks(site)), timeout_s=20, pause_s=0.02)
        (backend, *_) = _locks(site)
        stack.enter_context(frozen(site.pid("ingest-1")))
    return backend


def _transactions(site: Site) -> int:
    """Return how many workers are inside a transaction."""
    ((found,),) = site.platform.rows(
        """SELECT count(*) FROM pg_stat_activity
        WHERE state = 'idle in transaction' AND application_name = 'gridhook'"""
    )
    return int(found)


def _locks(site: Site) -> list[int]:
    """Return the sessions that wait for a lock on a table, or on another's row."""
    rows = site.platform.rows(
        """SELECT pid FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND backend_type = 'client backend'"""
    )
    return [pid for (pid,) in rows]
