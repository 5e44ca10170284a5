"""Callback URLs of the runs: receivers in processes of their own, and endpoints."""

import json
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.processes import ROOT, Platform, PlatformFailed, wait_until

_CREATED = 201


class Receiver:
    """A `bench.receiver` and its port."""

    def __init__(self, secret_file: Path | None = None) -> None:
        verifying = [] if secret_file is None else [str(secret_file)]
        self._process = subprocess.Popen(  # noqa: S603 (own module)
            [sys.executable, "-m", "bench.receiver", *verifying],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self._process.stdout.readline() if self._process.stdout else ""
        self.port = int(line)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def url(self, path: str = "/") -> str:
        """Return a callback URL of it."""
        return f"http://127.0.0.1:{self.port}{path}"

    def counts(self) -> dict[str, Any]:
        """End it; return what it says that it got."""
        self._process.send_signal(signal.SIGTERM)
        said: dict[str, Any] = json.loads(self._process.communicate(timeout=10)[0])
        return said

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()


@contextmanager
def receiver(secret_file: Path | None = None) -> Generator[Receiver]:
    """Run a receiver for the length of the block."""
    found = Receiver(secret_file)
    try:
        yield found
    finally:
        found.kill()


def subscribe(
    platform: Platform, api_key: str, url: str, event_types: tuple[str, ...]
) -> tuple[str, str]:
    """
    Register a callback URL and wait for its consent; return its id and its secret.

    Raises: PlatformFailed.
    """
    wanted = {"url": url, "event_types": list(event_types), "description": "bench"}
    status, reply = platform.api(api_key, "POST", "/endpoints/", wanted)
    if status != _CREATED:
        raise PlatformFailed(f"{status}: {reply}")
    path = f"/endpoints/{reply['id']}/"
    if not wait_until(
        lambda: platform.api(api_key, "GET", path)[1]["status"] == "active",
        timeout_s=30,
    ):
        raise PlatformFailed("The receiver's consent was not heard.")
    return str(reply["id"]), str(reply["secret"])
