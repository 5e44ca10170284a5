"""
`python -m tests.negative_controls`: does the durability test see what it is for?

Three runs of the same load over the same kills: as it should be (nothing may be lost),
with `synchronous_commit=off`, and with a listener that answers before the commit (both
must lose). Prints the figures; exit 0 when all three came out as they must.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.oracle import Client, Verdict, judge, waiting
from tests.processes import (
    ROOT,
    Platform,
    Source,
    free_ports,
    kill_tree,
    listens,
    running,
    wait_until,
)

RATE = 1500.0
KILLS = 8
#: Seconds of load before each kill.
BETWEEN_KILLS_S = 2.0
_SWEEP = {"GRIDHOOK_SWEEP_INTERVAL_S": "1"}


def main() -> None:
    """Run the three, print what was lost."""
    with running(environment=_SWEEP) as platform:
        kept = _kill_postgres(platform, platform.new_source())
        early = _kill_early_listener(platform)
    with running(
        environment={**_SWEEP, "GRIDHOOK_ALLOW_UNSAFE_COMMIT": "1"}
    ) as platform:
        source = platform.new_source()
        with platform.database() as owner:
            owner.execute("ALTER ROLE gridhook_owner SET synchronous_commit = off")
        platform.kill("listener")
        unsafe = _kill_postgres(platform, source)
    _say("synchronous_commit=on, Postgres killed", kept)
    _say("synchronous_commit=off, Postgres killed", unsafe)
    _say("answered before the commit, listener killed", early)
    sys.exit(not (kept.lost == 0 and unsafe.lost > 0 and early.lost > 0))


def _say(what: str, verdict: Verdict) -> None:
    sys.stdout.write(
        f"{what} {KILLS} times: {verdict.lost} of {verdict.acknowledged} acknowledged "
        f"callbacks lost ({verdict.undecided} undecided)\n"
    )


def _kill_postgres(platform: Platform, source: Source) -> Verdict:
    return _under_load(platform, source, lambda: platform.kill("postgres"))


def _kill_early_listener(platform: Platform) -> Verdict:
    source = platform.new_source()
    (port,) = free_ports(1)
    url = source.url.replace(f":{platform.listener_port}/", f":{port}/")
    with _early_listener(platform, port) as restart:
        return _under_load(platform, replace(source, url=url), restart)


@contextmanager
def _early_listener(platform: Platform, port: int) -> Generator[Callable[[], None]]:
    """Run the wrong listener beside the platform; yield what kills and restarts it."""
    command = [
        sys.executable, "-m", "granian", "--interface", "rsgi", "--port", str(port),
        "--loop", "uvloop", "--no-ws", "--log-level", "warning",
        "tests.early_listener:listener",
    ]  # fmt: skip

    def start() -> subprocess.Popen[bytes]:
        server = subprocess.Popen(command, cwd=ROOT, env=platform.environment)
        wait_until(lambda: listens(port), timeout_s=30, pause_s=0.05)
        return server

    servers = [start()]

    def restart() -> None:
        kill_tree(servers[-1].pid)
        servers[-1].wait()
        servers.append(start())

    try:
        yield restart
    finally:
        kill_tree(servers[-1].pid)
        servers[-1].wait()


def _under_load(
    platform: Platform, source: Source, fault: Callable[[], None]
) -> Verdict:
    with tempfile.TemporaryDirectory() as directory:
        ledger = Path(directory) / "ledger"
        client = Client(source, ledger, threads=24)
        client.start(RATE)
        try:
            for _ in range(KILLS):
                time.sleep(BETWEEN_KILLS_S)
                fault()
            time.sleep(BETWEEN_KILLS_S)
        finally:
            client.stop()
        wait_until(lambda: waiting(platform, source) == 0, timeout_s=60)
        return judge(platform, source, ledger)


if __name__ == "__main__":
    main()
