"""A real listener for tests: Granian, a free port, and the run's own Postgres."""

import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from ingest import listener
from ingest.models import Source
from ingest.services.sources import create_source
from tenants import signing
from tenants.actors import operator
from tenants.database import acting_for, pipeline
from tenants.models import Tenant
from tests.processes import free_ports

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Answer:
    """A reply as it came over the socket."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The reply's JSON."""
        document: dict[str, Any] = json.loads(self.body)
        return document

    @property
    def code(self) -> str:
        """The problem's code, or the status word of a success."""
        return str(self.document.get("code") or self.document["status"])


@dataclass(frozen=True)
class Sender:
    """A source with its secret, able to sign."""

    source: Source
    secret: str

    @property
    def path(self) -> str:
        """Where its callbacks go."""
        return f"/v1/callbacks/{self.source.public_id}"

    def hub(self, body: bytes) -> dict[str, str]:
        """Return the headers that sign the body."""
        signature = signing.sign_hub(signing.hub_key(self.secret), body)
        return {"X-Hub-Signature-256": signature, "Content-Type": "application/json"}

    def standard(
        self, body: bytes, *, message_id: str, at: float | None = None
    ) -> dict[str, str]:
        """Return the headers that sign the body by Standard Webhooks."""
        timestamp = int(time.time() if at is None else at)
        key = signing.standard_key(self.secret)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signing.sign_standard(
                key, message_id, timestamp, body
            ),
            "Content-Type": "application/json",
        }


def new_sender(tenant: Tenant, scheme: str = "hub") -> Sender:
    """Create a source that no other test knows."""
    with acting_for(tenant):
        source, secret = create_source(
            tenant=tenant, actor=operator(tenant), name="head-end", scheme=scheme
        )
    return Sender(source, secret)


def callback(transaction_id: str | None = None, **members: Any) -> bytes:
    """Return a callback's body."""
    document = {
        "transaction_id": transaction_id or uuid4().hex,
        "device": "WM-1",
        "readings": [
            {
                "at": "2016-01-01T00:00:00Z",
                "duration_s": 3600,
                "value": "0.1",
                "unit": "kWh",
            }
        ],
    }
    return json.dumps(document | members).encode()


@dataclass(frozen=True)
class Running:
    """A listener that runs."""

    port: int
    process: subprocess.Popen[bytes]
    output: Path

    def ask(
        self,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
        source_address: str = "",
    ) -> Answer:
        """Send one request over a connection of its own."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=20, source_address=(source_address, 0)
        )
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def raw(self, request: bytes) -> Answer:
        """Send these very bytes, and read one reply."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as link:
            link.sendall(request)
            response = http.client.HTTPResponse(link)
            response.begin()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())

    def post(self, sender: Sender, body: bytes) -> Answer:
        """Send a callback signed by the hub scheme."""
        return self.ask(sender.path, body, sender.hub(body))


@contextmanager
def running_listener(
    output: Path, workers: int = 1, environment: Mapping[str, str] | None = None
) -> Generator[Running, None, None]:
    """Run the product's own command until the block ends."""
    port = free_ports(1)[0]
    command = listener.command(workers)
    command[command.index("--port") + 1] = str(port)
    log = output / f"listener-{port}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    running = Running(port, process, log)
    try:
        _wait_until_listening(running)
        yield running
    finally:
        # At once: SIGTERM would begin a drain.
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _wait_until_listening(running: Running) -> None:
    pause = threading.Event()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and running.process.poll() is None:
        try:
            running.ask("/healthz", method="GET")
        except OSError:
            pause.wait(0.05)
        except http.client.HTTPException:
            # A TLS alert: it listens.
            return
        else:
            return
    raise AssertionError(running.output.read_text())


def stored(tenant: Tenant) -> list[tuple[Any, ...]]:
    """Return ids, bodies and types of what the tenant has in the ledger."""
    with pipeline() as lane:
        return lane.execute(
            """SELECT c.transaction_id, b.body, b.content_type
            FROM ingest_callback c JOIN ingest_callbackbody b
                ON b.tenant_id = c.tenant_id AND b.callback_id = c.id
            WHERE c.tenant_id = %s ORDER BY 1""",
            [tenant.pk],
        ).fetchall()


def settle(condition: Callable[[], bool]) -> None:
    """Wait for an announcement to arrive: well before the age limit of ten seconds."""
    pause = threading.Event()
    deadline = time.monotonic() + 3
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.02)
