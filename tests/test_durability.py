"""What was acknowledged is there, once, and was worked off: whatever was killed."""

import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests.oracle import Client, Verdict, judge, waiting
from tests.processes import Platform, running, wait_until

pytestmark = pytest.mark.processes

RATE = 150.0
#: Seconds after the last fault in which everything must have been worked off.
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def platform() -> Generator[Platform]:
    with running(environment={"GRIDHOOK_SWEEP_INTERVAL_S": "1"}) as platform:
        yield platform


Fault = Callable[[Platform], object]


def kill(name: str) -> Fault:
    return lambda platform: platform.kill(name)


def flush_broker(platform: Platform) -> object:
    return platform.broker().flushall()


def under_load(platform: Platform, ledger: Path, faults: list[Fault]) -> Verdict:
    source = platform.new_source()
    client = Client(source, ledger)
    client.start(RATE)
    try:
        for fault in faults:
            time.sleep(2)
            fault(platform)
        time.sleep(3)
    finally:
        client.stop()
    ended_s = time.monotonic()
    wait_until(lambda: waiting(platform, source) == 0, timeout_s=DEADLINE_S)
    took_s = time.monotonic() - ended_s
    verdict = judge(platform, source, ledger)
    print(f"{verdict}, worked off {took_s:.1f} s after the last answer")
    return verdict


def test_nothing_acknowledged_is_lost_or_doubled_when_processes_are_killed(
    platform: Platform, tmp_path: Path
) -> None:
    verdict = under_load(
        platform,
        tmp_path / "ledger",
        [
            kill("listener"),
            kill("ingest-1"),
            flush_broker,
            kill("redis"),
            kill("ingest-1"),
            kill("listener"),
            kill("beat"),
        ],
    )

    assert verdict.faults == {}
    assert verdict.acknowledged > 500


def test_nothing_acknowledged_is_lost_when_postgres_is_killed(
    platform: Platform, tmp_path: Path
) -> None:
    verdict = under_load(platform, tmp_path / "ledger", [kill("postgres")] * 3)

    assert verdict.faults == {}
    assert verdict.acknowledged > 200
