"""Real receivers for tests: HTTP servers on loopback that behave as they are told."""

import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Received:
    """One request, as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    #: The name in the client's certificate, where one was asked for.
    client: str = ""


@dataclass(frozen=True)
class Reply:
    """What the receiver answers."""

    status: int = 204
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


Behaviour = Callable[[Received], Reply | bytes]


def consenting(received: Received) -> Reply:
    """Agree to everything."""
    if received.method == "OPTIONS":
        return Reply(200, headers={"WebHook-Allowed-Origin": "*"})
    return Reply()


class Receiver(ThreadingHTTPServer):
    """A receiver: what it got, and how often it was dialled."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, behave: Behaviour = consenting) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behave = behave
        self.connections = 0
        self.requests: list[Received] = []
        self.arrived = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    def posts(self) -> list[Received]:
        with self.arrived:
            return [one for one in self.requests if one.method == "POST"]

    def wait_for(self, count: int, timeout_s: float = 10) -> None:
        with self.arrived:
            assert self.arrived.wait_for(
                lambda: len(self.requests) >= count, timeout_s
            ), f"{len(self.requests)} of {count} requests came"

    def get_request(self) -> tuple[object, object]:  # type: ignore[override] # same pair
        self.connections += 1
        return super().get_request()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Receiver

    def _answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        received = Received(
            self.command, self.path, headers, self.rfile.read(size), self._client()
        )
        with self.server.arrived:
            self.server.requests.append(received)
            self.server.arrived.notify_all()
        reply = self.server.behave(received)
        if isinstance(reply, bytes):
            self._answer_raw(reply)
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def _client(self) -> str:
        if not isinstance(self.connection, ssl.SSLSocket):
            return ""
        found: Any = self.connection.getpeercert() or {}
        return str(found["subject"][0][0][1]) if found else ""

    def _answer_raw(self, reply: bytes) -> None:
        self.close_connection = True
        self.wfile.write(reply)

    do_POST = do_GET = do_OPTIONS = _answer

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def receiving(behave: Behaviour = consenting) -> Generator[Receiver]:
    """Run a receiver for the block."""
    receiver = Receiver(behave)
    thread = threading.Thread(
        target=receiver.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    try:
        yield receiver
    finally:
        receiver.shutdown()
        receiver.server_close()
        thread.join(5)
