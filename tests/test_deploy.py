"""The examples in `deploy` are what the programs that read them accept."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT

DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
#: Exposure by `systemd-analyze security`: 0 is locked up, 10 is wide open.
EXPOSURE_LIMIT = 3.0


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False
    )


def installed(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


@pytest.fixture(params=UNITS, ids=lambda unit: str(unit.name))
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A unit as it would be here: with this machine's Python and user."""
    source: Path = request.param
    text = source.read_text().replace("/opt/gridhook/.venv/bin/python", sys.executable)
    here = tmp_path / source.name
    here.write_text(text)
    return here


def test_systemd_takes_each_unit(unit: Path) -> None:
    done = run(installed("systemd-analyze"), "verify", str(unit))
    assert done.stderr.strip() == ""
    assert done.returncode == 0


def test_each_unit_is_closed_to_what_it_does_not_need(unit: Path) -> None:
    done = run(installed("systemd-analyze"), "security", "--offline=true", str(unit))
    exposure = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert exposure, done.stdout + done.stderr
    assert float(exposure[1]) <= EXPOSURE_LIMIT


def test_the_unit_waits_longer_than_a_listener_takes_to_end(unit: Path) -> None:
    text = unit.read_text()
    # SIGTERM to the workers as well would do, SIGKILL before the end would not.
    assert "KillMode=mixed" in text
    stop = re.search(r"TimeoutStopSec=(\d+)", text)
    assert stop
    assert int(stop[1]) > 5 + 20


def test_haproxy_takes_its_file() -> None:
    config = DEPLOY / "haproxy" / "gridhook.cfg"
    done = run(installed("haproxy"), "-c", "-f", str(config))
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
