"""
One foreground process that starts, watches, restarts and ends the others.

A child that dies is started again; when the supervisor itself is killed, the kernel
ends the children (PR_SET_PDEATHSIG). Why no library: docs/explanation/processes.md.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

#: Seconds a child has to end before it is killed, unless it says otherwise.
STOP_TIMEOUT_S = 15.0
#: Seconds between a child's death and its next start.
RESTART_PAUSE_S = 0.5
#: Lines that wait to be shown; more are dropped.
LINES_KEPT = 10_000
_PR_SET_PDEATHSIG = 1
_COLOURS = (36, 33, 32, 35, 34, 31)
_libc = ctypes.CDLL(None, use_errno=True)


class StartFailed(Exception):
    """A service did not come up; the text says which and why."""


@dataclass(frozen=True)
class Service:
    """A child process: how to start it, how to know it is up, how to end it."""

    name: str
    command: Sequence[str]
    is_ready: Callable[[], bool] = lambda: True
    stop_signal: signal.Signals = signal.SIGTERM
    #: What ends it when there is time; None: the same.
    drain_signal: signal.Signals | None = None
    user: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    ready_timeout_s: float = 60.0
    stop_timeout_s: float = STOP_TIMEOUT_S
    #: Whether the others need it to their end.
    is_server: bool = False


def take_lock(path: Path) -> IO[str]:
    """
    Return the open lock file of this folder; the kernel drops it with the process.

    Raises: StartFailed: another supervisor holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise StartFailed(
            f"Already running here (process {holder}). Stop it with Ctrl-C, or set "
            f"GRIDHOOK_VAR and the two ports to run another copy."
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


class Screen:
    """
    Shows lines from a thread of its own.

    Where nobody reads them (a pipe that is full), lines are dropped, and the
    supervisor goes on.
    """

    def __init__(self, output: IO[str]) -> None:
        self._output = output
        self._lines: queue.Queue[str] = queue.Queue(LINES_KEPT)
        threading.Thread(target=self._run, name="screen", daemon=True).start()

    def show(self, line: str) -> None:
        """Show a line soon; returns at once."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(line)

    def finish(self) -> None:
        """Give the last lines a moment to be seen."""
        deadline = time.monotonic() + 1
        while not self._lines.empty() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _run(self) -> None:
        while True:
            line = self._lines.get()
            with contextlib.suppress(OSError, ValueError):
                self._write(f"{line}\n")

    def _write(self, text: str) -> None:
        """Write past Python's buffer, whose lock a full pipe would hold for ever."""
        if self._output is sys.stdout:
            os.write(sys.stdout.fileno(), text.encode())
        else:
            self._output.write(text)
            self._output.flush()


class Supervisor:
    """Runs services in order; ends them together, and those that they need after."""

    def __init__(self, *, state: Path, output: IO[str] = sys.stdout) -> None:
        self._state = state
        state.parent.mkdir(parents=True, exist_ok=True)
        self._is_terminal = output.isatty()
        self._screen = Screen(output)
        self._running: dict[str, tuple[Service, asyncio.subprocess.Process]] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self._pumps: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._is_draining = False

    def say(self, text: str) -> None:
        """Show what is no child's line."""
        self._screen.show(text)

    def request_stop(self, *, drain: bool = False) -> None:
        """Ask for an orderly end; with a drain, of each child that knows how."""
        self._is_draining = drain
        self._stopping.set()

    @property
    def is_stopping(self) -> bool:
        """Whether an end was asked for."""
        return self._stopping.is_set()

    async def start(self, service: Service) -> None:
        """
        Start a service and wait until it is ready.

        Raises: StartFailed: it ended, or was not ready in time.
        """
        process = await self._spawn(service)
        deadline = time.monotonic() + service.ready_timeout_s
        while not await asyncio.to_thread(service.is_ready):
            if process.returncode is not None or time.monotonic() > deadline:
                raise StartFailed(f"{service.name} did not start; see its lines above.")
            if self.is_stopping:
                return
            await asyncio.sleep(0.05)
        self._watchers.append(asyncio.create_task(self._watch(service, process)))

    async def run_once(self, name: str, command: Sequence[str]) -> None:
        """
        Run a command to its end.

        Raises: StartFailed: it failed.
        """
        process = await self._spawn(Service(name=name, command=command))
        code = await process.wait()
        del self._running[name]
        if code != 0 and not self.is_stopping:
            raise StartFailed(f"{name} failed; see its lines above.")

    async def wait(self) -> None:
        """Wait until an end is asked for."""
        await self._stopping.wait()

    async def stop(self) -> None:
        """End every child, servers last, and the groups they lead."""
        self._stopping.set()
        for watcher in self._watchers:
            watcher.cancel()
        for are_servers in (False, True):
            ends = [
                self._end(service, process)
                for service, process in self._running.values()
                if service.is_server is are_servers
            ]
            await asyncio.gather(*ends)
        await asyncio.gather(*self._watchers, *self._pumps, return_exceptions=True)
        self._running.clear()
        self._state.unlink(missing_ok=True)
        await asyncio.to_thread(self._screen.finish)

    async def _end(self, service: Service, process: asyncio.subprocess.Process) -> None:
        drain_signal = service.drain_signal if self._is_draining else None
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(drain_signal or service.stop_signal)
        try:
            await asyncio.wait_for(process.wait(), service.stop_timeout_s)
        except TimeoutError:
            self._print(service.name, "did not end in time; killed")
        _kill_group(process.pid)
        await process.wait()

    async def _spawn(self, service: Service) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *service.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **service.environment},
            start_new_session=True,
            user=service.user,
            group=service.user,
            extra_groups=[] if service.user else None,
            cwd="/" if service.user else None,
            preexec_fn=lambda: _die_with_parent(service.stop_signal),
        )
        self._running[service.name] = (service, process)
        self._record()
        self._pumps.append(asyncio.create_task(self._pump(service.name, process)))
        return process

    async def _watch(
        self, service: Service, process: asyncio.subprocess.Process
    ) -> None:
        while not self.is_stopping:
            code = await process.wait()
            _kill_group(process.pid)
            await asyncio.sleep(RESTART_PAUSE_S)
            if not self.is_stopping:
                self._print(service.name, f"ended with {code}; starting it again")
                process = await self._spawn(service)

    async def _pump(self, name: str, process: asyncio.subprocess.Process) -> None:
        stream = process.stdout
        if stream is None:
            return
        while True:
            try:
                line = await stream.readline()
            except ValueError:
                continue
            if not line:
                return
            self._print(name, line.decode("utf-8", "replace").rstrip())

    def _print(self, name: str, line: str) -> None:
        prefix = f"{name:>12} | "
        if self._is_terminal:
            colour = _COLOURS[sum(name.encode()) % len(_COLOURS)]
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
        self._screen.show(f"{prefix}{line}")

    def _record(self) -> None:
        groups = {
            name: [process.pid, _created_at(process.pid)]
            for name, (_, process) in self._running.items()
        }
        # In one step: who reads it at any moment finds it whole.
        new = self._state.with_suffix(".new")
        new.write_text(json.dumps(groups))
        new.replace(self._state)


def end_leftovers(state: Path) -> None:
    """End the children that a killed supervisor left behind."""
    try:
        groups = json.loads(state.read_text())
    except (OSError, ValueError):
        return
    left = [
        pid for pid, created_at in groups.values() if _created_at(pid) == created_at
    ]
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < deadline and any(psutil.pid_exists(pid) for pid in left):
        time.sleep(0.1)
    for pid in left:
        _kill_group(pid)
    state.unlink(missing_ok=True)


def _created_at(pid: int) -> float | None:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _die_with_parent(stop_signal: int) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, stop_signal)
