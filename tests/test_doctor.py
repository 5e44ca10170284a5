"""The doctor beside a whole platform, well and ill."""

import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from config.doctor.listeners import fetch
from tests.certificates import self_signed
from tests.processes import Platform, running, tree, wait_until

pytestmark = pytest.mark.processes

#: The command's own bound, and Python's start on a busy machine.
PATIENCE_S = 20


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Generator[Platform]:
    """A platform whose listener speaks TLS with a certificate that runs out soon."""
    certificate, key = self_signed(tmp_path_factory.mktemp("tls"))
    environment = {
        "GRIDHOOK_TLS_CERT": str(certificate),
        "GRIDHOOK_TLS_KEY": str(key),
        "GRIDHOOK_SWEEP_INTERVAL_S": "1",
    }
    with running(environment=environment) as started:
        yield started


def examined(platform: Platform) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the exit status and what was found, by code."""
    started_s = time.monotonic()
    done = platform.run("doctor", "--json")
    assert time.monotonic() - started_s < PATIENCE_S
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["ok"] is (done.returncode == 0)
    return done.returncode, {one["code"]: one for one in report["checks"]}


@contextmanager
def frozen(platform: Platform, name: str) -> Generator[None]:
    """Stop a server and its children without ending them, for the block's length."""
    processes = tree(platform.pids()[name])
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def test_a_platform_that_is_well_is_told_so(platform: Platform) -> None:
    status, found = examined(platform)
    assert {one["code"]: one for one in found.values() if one["level"] == "fail"} == {}
    assert status == 0
    for code in ("database.durable", "work.sweeps", "listener.ready", "console.alive"):
        assert found[code]["level"] == "ok", found[code]
    seen = found["broker.workers"]["seen"]
    assert seen == "billing 1, deliver 1, ingest 1, upkeep 1"
    assert found["listener.tls"]["seen"] == "TLSv1.3"
    assert found["listener.certificate"]["level"] == "warn"


def test_a_platform_at_other_ports_is_found_by_its_folder(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GRIDHOOK_LISTENER_PORT", "GRIDHOOK_CONSOLE_PORT"):
        monkeypatch.delitem(platform.environment, name)
    _, found = examined(platform)
    for code in ("listener.ready", "console.alive"):
        assert found[code]["level"] == "ok", found[code]


def test_a_frozen_redis_is_a_broker_that_does_not_answer(platform: Platform) -> None:
    with frozen(platform, "redis"):
        done = platform.run("doctor")
    assert done.returncode == 1
    lines = [line.split() for line in done.stdout.splitlines()]
    levels = {line[1]: line[0] for line in lines if line[0] in {"ok", "warn", "fail"}}
    assert levels["broker.reachable"] == "fail"
    assert levels["database.reachable"] == levels["listener.alive"] == "ok"
    assert "Start that broker" in done.stdout
    assert done.stderr == ""


def test_a_frozen_postgres_is_named_and_the_listener_lives(platform: Platform) -> None:
    def is_ready() -> bool:
        return fetch(platform.listener_port, "/readyz", tls=True).status == 200

    with frozen(platform, "postgres"):
        assert wait_until(lambda: not is_ready(), timeout_s=10)
        status, found = examined(platform)
    assert status == 1
    assert found["database.reachable"]["level"] == "fail"
    assert found["listener.alive"]["level"] == "ok"
    assert found["listener.ready"]["level"] == "fail"
