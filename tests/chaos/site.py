"""
Where the rows take place: a platform, a second listener, and room for wrong ones.

As root, the database lies on a small file system of its own (ext4 in a loop file, or
else tmpfs) in a mount namespace of the platform's, so that its disk can be filled; the
kernel unmounts it with the platform's last process.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil
import psycopg
import redis

from tests.oracle import source_id
from tests.processes import (
    ROOT,
    Platform,
    PlatformFailed,
    Source,
    free_ports,
    kill_tree,
    running,
    tree,
    wait_until,
)

START_TIMEOUT_S = 40.0
#: A sweep and a drain that rows can wait for.
_SETTINGS = {"GRIDHOOK_SWEEP_INTERVAL_S": "1", "GRIDHOOK_DRAIN_S": "2"}
_OK = 200
_DISK_BYTES = 3 * 1024**3
#: `run` and `keys` stay outside: what stands beside the platform reads them.
_MOUNT = f"""
set -e
mkdir -p "$1/run" "$1/keys"
mount --bind "$1" /mnt
truncate -s {_DISK_BYTES} /mnt/disk
if ! mkfs.ext4 -q -F /mnt/disk 2>/dev/null || ! mount -o loop /mnt/disk "$1" 2>/dev/null
then mount -t tmpfs -o size={_DISK_BYTES} tmpfs "$1"; fi
mkdir "$1/run" "$1/keys"
mount --bind /mnt/run "$1/run"
mount --bind /mnt/keys "$1/keys"
shift
exec "$@"
"""


class Beside:
    """A process beside the platform, in the platform's environment."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        output: Path,
        environment: Mapping[str, str],
    ) -> None:
        self.name = name
        self._command = command
        self._output = output
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        if self._process is None:
            raise PlatformFailed(f"{self.name} was not started")
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has said."""
        return self._output.read_text(errors="replace")

    @property
    def has_ended(self) -> bool:
        """Whether it was started and runs no more."""
        return self._process is not None and self._process.poll() is not None

    def start(self) -> None:
        """Start it."""
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """Kill it with all its children, and wait until they are gone."""
        if self._process is not None:
            kill_tree(self._process.pid)
            self._process.wait()

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def wait(self, timeout_s: float) -> None:
        """Wait until it has ended by itself; kill it when it does not."""
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
            self.kill()


class Site:
    """A platform with two listeners, each a process of its own on its own port."""

    def __init__(self, platform: Platform, *, second: str = "") -> None:
        self.platform = platform
        self._stack = ExitStack()
        (self.second_port,) = free_ports(1)
        self.second = self.listener("second", self.second_port, second)
        self._first_source: Source | None = None

    @property
    def ports(self) -> tuple[int, int]:
        """The ports of the two listeners."""
        return self.platform.listener_port, self.second_port

    def new_source(self) -> Source:
        """Return a new source; all of them belong to one tenant."""
        source = self.platform.new_source(of=self._first_source)
        if self._first_source is None:
            self._first_source = source
            self._subscribe(source)
        return source

    def _subscribe(self, source: Source) -> None:
        """Have outcomes told, to an endpoint for which they wait."""
        wanted = {"url": "http://127.0.0.1:9/", "event_types": ["callback.*"]}
        self.platform.api(source.api_key, "POST", "/endpoints/", wanted)

    def wrongly_told(self, source: Source) -> int:
        """Return how many callbacks have no message of their outcome, or several."""
        ((wrong,),) = self.platform.rows(
            """
            SELECT count(*) FROM (
                SELECT c.id FROM ingest_callback c LEFT JOIN (
                    SELECT tenant_id, convert_from(body, 'UTF8')::jsonb -> 'data'
                        ->> 'receipt' AS receipt
                    FROM subscriptions_message WHERE event_type LIKE 'callback.%%'
                ) AS m ON m.tenant_id = c.tenant_id
                    AND m.receipt = 'rcp_' || replace(c.id::text, '-', '')
                WHERE c.source_id = %s
                GROUP BY c.id HAVING count(m.receipt) <> 1
            ) AS wrong
            """,
            source_id(source),
        )
        return int(wrong)

    def new_stranger(self) -> Source:
        """Return a source of another tenant."""
        return self.platform.new_source()

    def urls(self, source: Source, ports: Sequence[int] = ()) -> list[str]:
        """Return the source's address at each listener, or at these."""
        first = f":{self.platform.listener_port}/"
        return [source.url.replace(first, f":{port}/") for port in ports or self.ports]

    def beside(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
    ) -> Beside:
        """Return a process beside the platform; it ends with the site at the latest."""
        one = Beside(
            name,
            command,
            output=self.platform.var / f"{name}.log",
            environment={**self.platform.environment, **(environment or {})},
        )
        self._stack.callback(one.kill)
        return one

    def listener(
        self, name: str, port: int, application: str = "", *before: str
    ) -> Beside:
        """Return a listener on a port of its own, or a wrong one; it is not started."""
        command = ["-m", "ingest.listener", "--port", str(port)]
        if application:
            command = [
                "-m", "granian", "--interface", "rsgi", "--port", str(port),
                "--loop", "uvloop", "--no-ws", "--log-level", "warning", application,
            ]  # fmt: skip
        return self.beside(name, [*before, sys.executable, *command])

    def await_listeners(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """
        Wait until both listeners take callbacks.

        Raises: PlatformFailed: one did not in time.
        """
        if not wait_until(self._listens, timeout_s=timeout_s):
            raise PlatformFailed(self.second.log + self.platform.log[-2000:])

    def _listens(self) -> bool:
        """Tell whether both listen; start the second again, as a supervisor would."""
        if self.second.has_ended:
            self.second.start()
        return all(map(is_ready, self.ports))

    def await_whole(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """
        Wait until the database, both listeners, the API and the broker answer.

        Raises: PlatformFailed: one did not in time.
        """
        parts = (self.has_database, self._has_api, self._has_broker)
        if not all(wait_until(part, timeout_s=timeout_s) for part in parts):
            raise PlatformFailed(self.platform.log[-2000:])
        self.await_listeners(timeout_s)

    def has_database(self) -> bool:
        """Tell whether the database answers."""
        try:
            return bool(self.platform.rows("SELECT 1"))
        except psycopg.OperationalError:
            return False

    def _has_broker(self) -> bool:
        try:
            return bool(self.platform.broker().ping())
        except redis.RedisError:
            return False

    def _has_api(self) -> bool:
        return asked(self.platform.console_port, "/api/v1/schema/")[0] == _OK

    def close(self) -> None:
        """End what stands beside the platform."""
        self._stack.close()

    def pid(self, name: str) -> int:
        """Return the process id of a service of the platform."""
        return self.platform.pids()[name]

    def postgres(self) -> list[psutil.Process]:
        """Return the processes of the database, the postmaster first."""
        return tree(self.pid("postgres"))

    @contextmanager
    def stopped(self, *names: str) -> Generator[None]:
        """Stop services of the platform for the block, children too."""
        with ExitStack() as stack:
            for name in names:
                stack.enter_context(frozen(self.pid(name)))
            yield


@contextmanager
def frozen(pid: int) -> Generator[None]:
    """Stop a process and its children for the block."""
    processes = tree(pid)
    _signal_all(processes, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal_all(processes, signal.SIGCONT)


def _signal_all(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


@contextmanager
def opened(
    *, second: str = "", environment: Mapping[str, str] | None = None
) -> Generator[Site]:
    """Open a site for the block."""
    with running(
        workers=2,
        environment={**_SETTINGS, **(environment or {})},
        launcher=own_disk(),
    ) as platform:
        site = Site(platform, second=second)
        try:
            site.second.start()
            site.await_listeners()
            yield site
        finally:
            site.close()


def own_disk() -> list[str]:
    """Return what starts the platform with a disk of its own; empty: impossible."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return []
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        return []
    return ["unshare", "--mount", "sh", "-c", _MOUNT, "sh", "{var}"]


def asked(port: int, path: str, timeout_s: float = 5) -> tuple[int, float]:
    """Return a page's status (0: no answer) and the seconds that it took."""
    page = HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    began_s = time.monotonic()
    try:
        page.request("GET", path)
        status = page.getresponse().status
    except (OSError, HTTPException):
        status = 0
    finally:
        page.close()
    return status, time.monotonic() - began_s


def is_ready(port: int) -> bool:
    """Tell whether a listener takes callbacks."""
    return asked(port, "/readyz")[0] == _OK
