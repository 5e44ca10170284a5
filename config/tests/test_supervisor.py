"""The supervisor restarts what dies and leaves nothing behind."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from django.conf import settings

from config import processes
from config.supervisor import (
    Service,
    StartFailed,
    Supervisor,
    end_leftovers,
    take_lock,
)

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]


def pids(state: Path) -> dict[str, int]:
    return {name: entry[0] for name, entry in json.loads(state.read_text()).items()}


async def until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.02)


def test_a_child_that_is_killed_ten_times_in_ten_seconds_is_started_again(
    tmp_path: Path,
) -> None:
    state = tmp_path / "state.json"

    async def scenario() -> list[int]:
        supervisor = Supervisor(state=state, output=io.StringIO())
        await supervisor.start(Service(name="sleeper", command=SLEEPER))
        seen = [pids(state)["sleeper"]]
        started_at = time.monotonic()
        for _ in range(10):
            os.kill(seen[-1], signal.SIGKILL)
            await until(lambda: pids(state)["sleeper"] != seen[-1])
            seen.append(pids(state)["sleeper"])
        assert time.monotonic() - started_at < 10
        await supervisor.stop()
        return seen

    seen = asyncio.run(scenario())
    assert len(set(seen)) == 11
    assert not any(map(psutil.pid_exists, seen))
    assert not state.exists()


@pytest.mark.parametrize(
    ("drain", "signals"), [(True, "SIGTERM SIGTERM"), (False, "SIGINT SIGTERM")]
)
def test_with_a_drain_each_child_is_ended_as_it_asked_to_be(
    tmp_path: Path, drain: bool, signals: str
) -> None:
    program = (
        "import pathlib, signal, sys, time\n"
        "def end(number, frame):\n"
        "    sys.exit(pathlib.Path(sys.argv[1]).write_text(signal.strsignal(number)))\n"
        "for number in (signal.SIGINT, signal.SIGTERM):\n"
        "    signal.signal(number, end)\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "time.sleep(60)\n"
    )
    ends = {"SIGTERM": "Terminated", "SIGINT": "Interrupt"}

    async def scenario() -> None:
        supervisor = Supervisor(state=tmp_path / "s.json", output=io.StringIO())
        services = [
            Service(
                name=name,
                command=[sys.executable, "-c", program, str(tmp_path / name)],
                is_ready=(tmp_path / name).exists,
            )
            for name in ("listener", "worker")
        ]
        services[0] = replace(
            services[0], stop_signal=signal.SIGINT, drain_signal=signal.SIGTERM
        )
        for service in services:
            await supervisor.start(service)
        supervisor.request_stop(drain=drain)
        await supervisor.stop()

    asyncio.run(scenario())
    said = [(tmp_path / name).read_text() for name in ("listener", "worker")]
    assert said == [ends[name] for name in signals.split()]


def test_a_child_that_never_gets_ready_is_a_clear_failure(tmp_path: Path) -> None:
    async def scenario() -> None:
        supervisor = Supervisor(state=tmp_path / "s.json", output=io.StringIO())
        try:
            await supervisor.start(
                Service(
                    name="broken",
                    command=[sys.executable, "-c", "raise SystemExit('no')"],
                    is_ready=lambda: False,
                )
            )
        finally:
            await supervisor.stop()

    with pytest.raises(StartFailed, match="broken did not start"):
        asyncio.run(scenario())


def test_an_output_that_nobody_reads_holds_nothing_up(tmp_path: Path) -> None:
    script = f"""
import asyncio
from pathlib import Path
from config.supervisor import Service, Supervisor
async def main():
    supervisor = Supervisor(state=Path({str(tmp_path / "s.json")!r}))
    for number in range(20_000):
        supervisor.say("x" * 100)
    await supervisor.stop()
asyncio.run(main())
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as silent:
        assert silent.wait(20) == 0


def test_the_second_supervisor_of_a_folder_is_refused(tmp_path: Path) -> None:
    with take_lock(tmp_path / "lock"), pytest.raises(StartFailed, match="Already"):
        take_lock(tmp_path / "lock")
    take_lock(tmp_path / "lock").close()


def test_children_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    script = f"""
import asyncio, sys
from pathlib import Path
from config.supervisor import Service, Supervisor
async def main():
    supervisor = Supervisor(state=Path({str(state)!r}))
    await supervisor.start(Service(name="sleeper", command={SLEEPER!r}))
    print("ready", flush=True)
    await supervisor.wait()
asyncio.run(main())
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE
    ) as top:
        assert top.stdout
        while b"ready" not in top.stdout.readline():
            pass
        child = psutil.Process(pids(state)["sleeper"])
        top.kill()
        top.wait()
    child.wait(10)
    end_leftovers(state)
    assert not state.exists()


def test_a_child_that_will_not_end_is_killed_when_its_time_is_over(
    tmp_path: Path,
) -> None:
    ready = tmp_path / "ready"
    program = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "time.sleep(60)\n"
    )
    state, output = tmp_path / "state.json", io.StringIO()

    async def scenario() -> int:
        supervisor = Supervisor(state=state, output=output)
        command = [sys.executable, "-c", program, str(ready)]
        await supervisor.start(
            Service(
                name="stuck",
                command=command,
                is_ready=ready.exists,
                stop_timeout_s=0.3,
            )
        )
        pid = pids(state)["stuck"]
        await asyncio.wait_for(supervisor.stop(), 10)
        return pid

    assert not psutil.pid_exists(asyncio.run(scenario()))
    assert "did not end in time; killed" in output.getvalue()


def test_a_worker_has_time_to_see_its_longest_request_to_its_end() -> None:
    assert processes.worker("deliver").stop_timeout_s > settings.DELIVERY_TIMEOUT_S
