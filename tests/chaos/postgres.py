"""A database that dies, freezes, is slow to flush, or cannot: R02, R03, R04, R06."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.chaos.site import Site, asked, is_ready
from tests.chaos.staging import Report, Stage, loaded, settle
from tests.oracle import entries
from tests.posting import Client
from tests.processes import wait_until

#: What a flush is made to take.
FLUSH_S = 0.5
FLUSHES = 20
#: A sender is answered in this time, whatever stands still …
REPLY_S = 5.0
#: … and whoever asks whether the listener lives, in this.
HEALTH_S = 1.0
#: The platform is itself again in this time.
RECOVERY_S = 10.0
#: Crash recovery of the database itself comes on top.
RESTART_S = 30.0
_UNAVAILABLE = 503


def killed(stage: Stage) -> Report:
    """Kill single backends, then the whole server, again and again."""
    report = Report()
    if stage.is_control:
        commit_unsafely(stage.site)
    with loaded(stage, report, threads=24 if stage.is_control else 8) as load:
        for turn in stage.turns(every_s=2):
            is_backend = turn % 2 == 0 and not stage.is_control
            load.strike(_kill_backend if is_backend else _kill_all, stage)
            load.await_recovery(RESTART_S)
    report.most("first 202 after a kill, s", report.figures["recovery_s"], RESTART_S)
    return report


def flush_delayed(stage: Stage) -> Report:
    """Make every flush take half a second: no reply may come sooner."""
    report = Report()
    site = stage.site
    if stage.is_control:
        commit_unsafely(site)
    source, ledger = site.new_source(), stage.ledger()
    client = Client(source, ledger, urls=site.urls(source))
    pids = [process.pid for process in site.postgres()]
    with traced(pids, f"delay_exit={round(FLUSH_S * 1e6)}", follow=True):
        post_all(client, range(FLUSHES), threads=FLUSHES)
    client.stop()
    took = [
        one["ended_s"] - one["began_s"]
        for one in entries(ledger)
        if one["status"] in {200, 202}
    ]
    report.least("acknowledged", len(took), FLUSHES if stage.is_control else 1)
    report.least("soonest reply, s", min(took, default=0.0), FLUSH_S)
    settle(stage, report, source, ledger)
    return report


def flush_failed(stage: Stage) -> Report:
    """Have the flush of a callback fail once: it is not acknowledged on that."""
    report = Report()
    site = stage.site
    if stage.is_control:
        commit_unsafely(site)
    source, ledger = site.new_source(), stage.ledger()
    client = Client(source, ledger)
    with ThreadPoolExecutor(1) as pool:
        with traced(_writers(site), "error=EIO:when=1") as began_s:
            answer = pool.submit(post_all, client, range(1))
            wait_until(lambda: not is_ready(site.ports[0]), timeout_s=10, pause_s=0.01)
            away_s = time.monotonic()
        answer.result()
    # The retries go to both listeners.
    wait_until(lambda: all(map(is_ready, site.ports)), timeout_s=RESTART_S)
    report.most("recovery_s", time.monotonic() - began_s, RESTART_S)
    (first,) = entries(ledger)
    is_early = first["status"] in {200, 202} and first["ended_s"] < away_s
    report.most("acknowledged on the failed flush", is_early, 0)

    def are_decided() -> bool:
        return {*post_all(client, range(2))} <= {200, 202}

    # As a device does: again, until there is an answer.
    report.least("decided", wait_until(are_decided, timeout_s=RESTART_S), 1)
    client.stop()
    site.platform.kill("postgres")
    site.await_whole()
    settle(stage, report, source, ledger)
    return report


def frozen(stage: Stage) -> Report:
    """Stop every process of the database, then let it go on."""
    report = Report()
    site = stage.site
    before = _backends(site)
    health: list[float] = []
    with loaded(stage, report) as load:
        load.strike(lambda: _freeze(stage, report, health))
        load.await_recovery(RECOVERY_S)
    report.most("slowest reply, s", report.figures["slowest_s"], REPLY_S)
    report.most("slowest /healthz, s", max(health), HEALTH_S)
    report.most("full again after, s", report.figures["recovery_s"], RECOVERY_S)
    # The pool of a worker may keep one connection more than it had; none pile up.
    report.most("connections more", _backends(site) - before, 8)
    unsaid = [
        one
        for one in entries(load.ledger)
        if one["status"] == _UNAVAILABLE and not one["retry_after"]
    ]
    report.most("503 without Retry-After", len(unsaid), 0)
    return report


def post_all(client: Client, numbers: Sequence[int], threads: int = 1) -> list[int]:
    """Post each of the callbacks once, several at a time; return the statuses."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(client.post_number, numbers))


def commit_unsafely(site: Site) -> None:
    """Have commits return before their flush (the site's listeners must allow it)."""
    with site.platform.database() as owner:
        owner.execute("ALTER ROLE gridhook_owner SET synchronous_commit = off")
        # Else the writer's next round, a moment later, makes up for it.
        owner.execute("ALTER SYSTEM SET wal_writer_delay = '5s'")
        owner.execute("SELECT pg_reload_conf()")
        owner.execute(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"""
        )
    site.await_whole()


@contextmanager
def traced(
    pids: Sequence[int], injection: str, *, follow: bool = False
) -> Generator[float]:
    """Tamper with `fdatasync` in these processes for the block; yield when it began."""
    command = [
        str(shutil.which("strace")), "-qq", *(["-f"] if follow else []),
        "-e", "trace=fdatasync", "-e", f"inject=fdatasync:{injection}",
        *(part for pid in pids for part in ("-p", str(pid))),
    ]  # fmt: skip
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: all(map(_is_traced, pids)), timeout_s=10, pause_s=0.02)
        yield time.monotonic()
    finally:
        tracer.send_signal(signal.SIGINT)
        try:
            tracer.wait(10)
        finally:
            tracer.kill()
            tracer.wait()


def _is_traced(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/status") as status:
            return "TracerPid:\t0\n" not in status.read()
    except OSError:
        return True


def _kill_all(stage: Stage) -> None:
    stage.site.platform.kill("postgres")


def _kill_backend(stage: Stage) -> None:
    with stage.site.platform.database() as owner:
        rows = owner.execute(
            """SELECT pid FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"""
        ).fetchall()
        os.kill(stage.random.choice(rows)[0], signal.SIGKILL)


def _writers(site: Site) -> list[int]:
    """Return who may flush a callback: the first listener's backend, and the writer."""
    return [
        pid
        for (pid,) in site.platform.rows(
            """SELECT pid FROM pg_stat_activity
            WHERE application_name LIKE 'gridhook-listener-ledger%%'
                OR backend_type = 'walwriter'"""
        )
    ]


def _backends(site: Site) -> int:
    ((found,),) = site.platform.rows(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    )
    return int(found)


def _freeze(stage: Stage, report: Report, health: list[float]) -> None:
    with stage.site.stopped("postgres"):
        end_s = time.monotonic() + stage.seconds
        is_alive = True
        while time.monotonic() < end_s:
            for port in stage.site.ports:
                status, took_s = asked(port, "/healthz")
                is_alive &= status == 200
                health.append(took_s)
            time.sleep(0.2)
    if not is_alive:
        report.broken.append("/healthz did not answer")
