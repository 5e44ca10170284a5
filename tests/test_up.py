"""`manage.py up`, as its user runs it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest

from tests.processes import free_ports, wait_until

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 90

pytestmark = pytest.mark.processes


@pytest.fixture
def surroundings() -> Generator[dict[str, str], None, None]:
    """The environment of a stranger's copy: nothing set but where it is."""
    with TemporaryDirectory(prefix="gh-up-", ignore_cleanup_errors=True) as var:
        yield {
            "PATH": os.environ["PATH"],
            "GRIDHOOK_VAR": var,
            "GRIDHOOK_LISTENER_PORT": str(free_ports(1)[0]),
            "GRIDHOOK_CONSOLE_PORT": str(free_ports(1)[0]),
        }


@contextlib.contextmanager
def running(
    environment: dict[str, str], *options: str
) -> Iterator[subprocess.Popen[str]]:
    """Start `manage.py up`, wait for its banner, and make sure that it ends."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", "up", *options],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_for_banner(process)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)
        if process.stdout:
            process.stdout.close()


def wait_for_banner(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    late = threading.Timer(START_TIMEOUT_S, process.terminate)
    late.start()
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if "Ctrl-C stops everything" in line:
                return
    finally:
        late.cancel()
    pytest.fail("it ended: " + "".join(lines[-20:]))


def output_of(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def status_of(port: str, path: str) -> int:
    page = HTTPConnection("127.0.0.1", int(port), timeout=5)
    try:
        page.request("GET", path)
        return page.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        page.close()


def processes_of(environment: dict[str, str]) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("GRIDHOOK_VAR") == environment["GRIDHOOK_VAR"]:
                found.append(process)
    return found


def test_it_runs_stops_survives_a_kill_and_finds_its_data(
    surroundings: dict[str, str],
) -> None:
    with running(surroundings) as first:
        assert status_of(surroundings["GRIDHOOK_LISTENER_PORT"], "/readyz") == 200
        assert status_of(surroundings["GRIDHOOK_CONSOLE_PORT"], "/admin/login/") == 200
        code, output = output_of(surroundings, "up")
        assert code == 1
        assert "Already running here" in output
        assert "Traceback" not in output
        code, output = output_of(
            surroundings, "create_tenant", "acme", "--timezone", "Europe/Brussels",
            "--currency", "EUR", "--admin-email", "a@acme.example",
        )  # fmt: skip
        assert code == 0, output
        first.kill()
        first.wait()
    with running(surroundings) as second:
        code, output = output_of(
            surroundings, "create_tenant", "acme", "--timezone", "Europe/Brussels",
            "--currency", "EUR", "--admin-email", "b@acme.example",
        )  # fmt: skip
        assert code == 1
        assert "already" in output
        second.send_signal(signal.SIGINT)
        second.wait(60)
    left = [process for process in processes_of(surroundings) if process.is_running()]
    assert left == []


def test_the_demo_is_a_utility_at_work_with_last_months_bills(
    surroundings: dict[str, str],
) -> None:
    with running(surroundings, "--demo"):
        demo = json.loads(
            (Path(surroundings["GRIDHOOK_VAR"]) / "demo.json").read_text()
        )
        key = demo["api_key"]
        invoices = results_of(surroundings, key, "invoices")
        # Half a minute is what a subscriber that came up late would wait unasked.
        assert wait_until(
            lambda: bool(
                results_of(surroundings, key, "deliveries", "?status=delivered")
            ),
            timeout_s=20,
        )
        (endpoint,) = results_of(surroundings, key, "endpoints")
    assert len(invoices) == 8
    assert all(float(invoice["total"]) > 0 for invoice in invoices)
    assert endpoint["status"] == "active"


def results_of(
    environment: dict[str, str], key: str, what: str, query: str = ""
) -> list[dict[str, Any]]:
    page = HTTPConnection("127.0.0.1", int(environment["GRIDHOOK_CONSOLE_PORT"]))
    headers = {"Authorization": f"Bearer {key}"}
    page.request("GET", f"/api/v1/{what}/{query}", headers=headers)
    results: list[dict[str, Any]] = json.loads(page.getresponse().read())["results"]
    page.close()
    return results


@pytest.mark.parametrize("name", ["GRIDHOOK_LISTENER_PORT", "GRIDHOOK_CONSOLE_PORT"])
def test_a_taken_port_is_one_clear_line(
    surroundings: dict[str, str], name: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(surroundings[name])))
        taken.listen()
        code, output = output_of(surroundings, "up")
    assert code == 1
    assert f"set {name} to a free one" in output
    assert len(output.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}, "DATABASE_URL:"),
        ({"BROKER_URL": "redis://127.0.0.1:1/0"}, "BROKER_URL:"),
        ({"GRIDHOOK_SECRET_KEY_FILE": "/nowhere"}, "GRIDHOOK_SECRET_KEY_FILE:"),
        ({"GRIDHOOK_LISTENER_PORT": "eighty"}, "is a whole number"),
    ],
)
def test_a_wrong_setting_is_a_clear_line_and_no_traceback(
    surroundings: dict[str, str], setting: dict[str, str], said: str
) -> None:
    code, output = output_of({**surroundings, **setting}, "up")
    assert code == 1
    assert said in output
    assert "Traceback" not in output


def test_a_command_without_servers_says_what_to_do(
    surroundings: dict[str, str],
) -> None:
    code, output = output_of(
        surroundings, "create_tenant", "acme", "--timezone", "UTC",
        "--currency", "EUR", "--admin-email", "a@acme.example",
    )  # fmt: skip
    assert code == 1
    assert "There is no database" in output
    assert "Traceback" not in output
