"""Two listeners behind the proxy of `deploy/haproxy`: restarted, killed, doubled."""

import http.client
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest

from ingest.tests.listening import callback
from tenants import signing
from tests.oracle import judge, waiting
from tests.posting import Client, Habits
from tests.processes import (
    ROOT,
    Platform,
    Source,
    free_ports,
    kill_tree,
    running,
    wait_until,
)

pytestmark = pytest.mark.processes

RATE = 300.0
DRAIN_S = 2
#: Seconds of load before, between and after what is done to the listeners.
CALM_S = 1.5


class Listener:
    """`python -m ingest.listener` on a port of its own, as another machine has it."""

    def __init__(self, platform: Platform, port: int, log: Path) -> None:
        self.port = port
        self._environment = {**platform.environment, "GRIDHOOK_DRAIN_S": str(DRAIN_S)}
        self._log = log
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ingest.listener", "--port", str(self.port)],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        assert wait_until(lambda: status_of(self.port) == 200, timeout_s=30)

    def restart(self) -> None:
        """As `systemctl restart` does it."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(DRAIN_S + 10) == 0
        self.start()

    def kill(self) -> None:
        kill_tree(self.process.pid)
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)


@dataclass(frozen=True)
class Site:
    """A platform, two listeners beside its own, and the proxy in front of the two."""

    platform: Platform
    source: Source
    one: Listener
    two: Listener
    proxy_port: int

    def at(self, port: int) -> Source:
        """The source as it is reached over this port."""
        own = f":{self.platform.listener_port}/"
        return replace(self.source, url=self.source.url.replace(own, f":{port}/"))


def status_of(port: int, path: str = "/readyz") -> int:
    page = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        page.request("GET", path)
        return page.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        page.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with ExitStack() as stack:
        platform = stack.enter_context(running())
        first, second, proxy = free_ports(3)
        one = Listener(platform, first, folder / "one.log")
        stack.callback(one.stop)
        two = Listener(platform, second, folder / "two.log")
        stack.callback(two.stop)
        yield Site(platform, platform.new_source(), one, two, proxy)


@pytest.fixture(scope="module")
def haproxy(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """The proxy, with the file that is in `deploy`, on this test's ports."""
    program = shutil.which("haproxy")
    if program is None:
        pytest.skip("haproxy is not installed: apt-get install haproxy")
    text = (ROOT / "deploy" / "haproxy" / "gridhook.cfg").read_text()
    ports = {8080: site.proxy_port, 8081: site.one.port, 8082: site.two.port}
    for port, here in ports.items():
        assert f"127.0.0.1:{port}\n" in text
        text = text.replace(f"127.0.0.1:{port}\n", f"127.0.0.1:{here}\n")
    config = tmp_path_factory.mktemp("haproxy") / "gridhook.cfg"
    config.write_text(text)
    proxy = subprocess.Popen([program, "-db", "-f", str(config)])
    try:
        assert wait_until(
            lambda: status_of(site.proxy_port) == 200, timeout_s=10, pause_s=0.05
        )
        yield
    finally:
        proxy.terminate()
        proxy.wait(10)


@contextmanager
def load(source: Source, ledger: Path) -> Generator[None]:
    # Whoever repeats by itself would hide what the proxy lets through.
    client = Client(source, ledger, habits=Habits(insists=0.0))
    client.start(RATE)
    try:
        time.sleep(CALM_S)
        yield
        time.sleep(CALM_S)
    finally:
        client.stop()


def failures(ledger: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert len(lines) > RATE
    return [line for line in lines if line["status"] not in {200, 202}]


@pytest.mark.usefixtures("haproxy")
@pytest.mark.parametrize("how", ["restarted", "killed"])
def test_no_sender_sees_how_one_listener_after_the_other_is(
    site: Site, tmp_path: Path, how: str
) -> None:
    source = site.platform.new_source()
    own = f":{site.platform.listener_port}/"
    source = replace(source, url=source.url.replace(own, f":{site.proxy_port}/"))
    ledger = tmp_path / "ledger"
    with load(source, ledger):
        for listener in (site.one, site.two):
            if how == "restarted":
                listener.restart()
            else:
                listener.kill()
                time.sleep(CALM_S)
                listener.start()
            # The proxy wants two good answers before it sends anything.
            time.sleep(CALM_S)
    assert failures(ledger) == []
    assert wait_until(lambda: waiting(site.platform, source) == 0, timeout_s=60)
    assert judge(site.platform, source, ledger).faults == {}


def test_what_comes_to_two_listeners_at_once_is_stored_once(site: Site) -> None:
    names = [uuid4().hex for _ in range(60)]
    gate = threading.Barrier(2)

    def post_all(port: int) -> list[tuple[int, str]]:
        source = site.at(port)
        return [post(source, callback(name), gate) for name in names]

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(post_all, (site.one.port, site.two.port))
    for first, second in zip(one, two, strict=True):
        assert sorted((first[0], second[0])) == [200, 202]
        assert first[1] == second[1]
    rows = site.platform.rows(
        "SELECT count(*) FROM ingest_callback WHERE transaction_id = ANY(%s)", names
    )
    assert rows == [(len(names),)]


def post(source: Source, body: bytes, gate: threading.Barrier) -> tuple[int, str]:
    host, path = source.url.removeprefix("http://").split("/", 1)
    page = http.client.HTTPConnection(host, timeout=10)
    signature = signing.sign_hub(signing.hub_key(source.secret), body)
    headers = {"Content-Type": "application/json", "X-Hub-Signature-256": signature}
    gate.wait(20)
    page.request("POST", f"/{path}", body, headers)
    reply = page.getresponse()
    receipt = json.loads(reply.read())["receipt"]
    page.close()
    return reply.status, receipt
