"""Floods over HTTP/2: streams that are begun and reset at once (R42)."""

import socket
import ssl
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from django.test import override_settings
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, ResponseReceived, StreamEnded, StreamReset

from ingest.tests.listening import Running, Sender, callback, running_listener, stored
from ingest.tests.test_listener_tls import certificate
from tenants.models import Tenant
from tests.hostile.conftest import FAULTS
from tests.hostile.measuring import MIB, measured

pytestmark = pytest.mark.processes

__all__ = ["certificate"]

RESETS = 10_000
HONEST = 100


@pytest.fixture(scope="module")
def over_tls(
    tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]
) -> Generator[Running, None, None]:
    """A listener that faces the network itself, with no faults in its log."""
    cert, key = map(str, certificate)
    with (
        override_settings(TLS_CERT=cert, TLS_KEY=key),
        running_listener(tmp_path_factory.mktemp("floods")) as running,
    ):
        yield running
    log = running.output.read_text()
    assert [word for word in FAULTS if word in log] == []


class Client:
    """One HTTP/2 connection that does as it is told."""

    def __init__(self, port: int, cert: Path) -> None:
        context = ssl.create_default_context(cafile=str(cert))
        context.set_alpn_protocols(["h2"])
        link = socket.create_connection(("127.0.0.1", port), 10)
        self.link = context.wrap_socket(link, server_hostname="localhost")
        self.h2 = H2Connection(H2Configuration(header_encoding=None))
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        """Send what is to be sent."""
        self.link.sendall(self.h2.data_to_send())

    def begin(self, sender: Sender, body: bytes, *, path: str | None = None) -> int:
        """Begin a request; return its stream."""
        stream = self.h2.get_next_available_stream_id()
        headers = {name.lower(): value for name, value in sender.hub(body).items()}
        self.h2.send_headers(
            stream,
            [
                (":method", "POST"),
                (":scheme", "https"),
                (":authority", "localhost"),
                (":path", path or sender.path),
                *headers.items(),
                ("content-length", str(len(body))),
            ],
        )
        return stream

    def finish(self, stream: int, body: bytes) -> int:
        """Send the body, and return the reply's status."""
        self.h2.send_data(stream, body, end_stream=True)
        self.flush()
        status = 0
        while True:
            data = self.link.recv(65_536)
            assert data, "The connection was closed."
            for event in self.h2.receive_data(data):
                assert not isinstance(event, StreamReset | ConnectionTerminated)
                if isinstance(event, ResponseReceived) and event.headers:
                    status = int(dict(event.headers)[b":status"])
                if isinstance(event, StreamEnded):
                    return status
            self.flush()

    def close(self) -> None:
        """End the connection."""
        self.link.close()


def flood(client: Client, sender: Sender) -> int:
    """Begin and reset streams until the listener has had enough; return how many."""
    for count in range(RESETS):
        try:
            stream = client.begin(sender, b"{}")
            client.h2.reset_stream(stream, ErrorCodes.CANCEL)
            client.flush()
        except (OSError, ssl.SSLError):
            return count
    return RESETS


def test_streams_that_are_begun_and_reset_end_their_connection_and_nobody_elses(
    over_tls: Running,
    certificate: tuple[Path, Path],
    tenant: Tenant,
    sender: Sender,
) -> None:
    cert, _ = certificate
    honest = Client(over_tls.port, cert)
    attacker = Client(over_tls.port, cert)
    waits = []
    with (
        measured(psutil.Process(over_tls.process.pid)) as cost,
        ThreadPoolExecutor(1) as pool,
    ):
        flooding = pool.submit(flood, attacker, sender)
        for number in range(HONEST):
            body = callback(f"honest/{number}")
            started_at = time.monotonic()
            assert honest.finish(honest.begin(sender, body), body) == 202
            waits.append(time.monotonic() - started_at)
        count = flooding.result()
    attacker.close()
    honest.close()
    print(count, sorted(waits)[len(waits) // 2], max(waits), cost)
    assert count < RESETS
    assert max(waits) < 5
    assert cost.peak_bytes < 50 * MIB
    assert len(stored(tenant)) == HONEST
