"""
A subscriber as one should be: it consents, verifies, drops duplicates, answers soon.

Stands alone: it needs no database and no settings. `manage.py listen` runs it.
"""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TextIO
from urllib.parse import parse_qs, urlsplit

from tenants.signing import hub_key, standard_key, verify_hub, verify_standard

BODY_LIMIT_BYTES = 10 * 1024 * 1024
#: Message ids that are remembered, the newest.
MEMORY = 100_000
#: Seconds without a byte after which a connection is closed.
PATIENCE_S = 60


@dataclass
class Ledger:
    """What the subscriber got; safe from several threads."""

    print_line: Callable[[str], None]
    record: TextIO | None = None
    counts: Counter[str] = field(default_factory=Counter)
    _seen: dict[str, None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, outcome: str, message_id: str = "-", event_type: str = "-") -> None:
        """Count a request and print its line."""
        with self._lock:
            self._note(outcome, message_id, event_type)

    def accept(self, message_id: str, event_type: str) -> None:
        """Take a message, unless it was taken before."""
        with self._lock:
            is_new = message_id not in self._seen
            self._seen[message_id] = None
            if len(self._seen) > MEMORY:
                del self._seen[next(iter(self._seen))]
            self._note("accepted" if is_new else "duplicate", message_id, event_type)

    def _note(self, outcome: str, message_id: str, event_type: str) -> None:
        self.counts[outcome] += 1
        clock = time.strftime("%H:%M:%S")
        self.print_line(f"{clock} {outcome:<9} {event_type:<24} {message_id}")
        if self.record is not None:
            line = {"outcome": outcome, "id": message_id, "type": event_type}
            self.record.write(json.dumps(line) + "\n")
            self.record.flush()


class SampleSubscriber(ThreadingHTTPServer):
    """The server; `fail_rate` is the share of messages that it answers with 500."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(
        self,
        address: tuple[str, int],
        *,
        secrets: Sequence[str],
        ledger: Ledger,
        fail_rate: float = 0.0,
    ) -> None:
        self.hub_keys = [hub_key(secret) for secret in secrets]
        self.standard_keys = [standard_key(secret) for secret in secrets]
        self.ledger = ledger
        self.fail_rate = fail_rate
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = PATIENCE_S
    server: SampleSubscriber

    def do_OPTIONS(self) -> None:
        """Consent, as CloudEvents webhooks do."""
        origin = self.headers.get("WebHook-Request-Origin")
        if origin is None:
            self._reply(HTTPStatus.OK)
            return
        self.server.ledger.note("consent")
        self._reply(
            HTTPStatus.OK,
            headers={"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*"},
        )

    def do_GET(self) -> None:
        """Consent, as WebSub subscribers do; else say what has arrived."""
        query = parse_qs(urlsplit(self.path).query)
        if "hub.challenge" in query:
            self.server.ledger.note("consent")
            self._reply(HTTPStatus.OK, query["hub.challenge"][0].encode())
            return
        self._reply(HTTPStatus.OK, json.dumps(self.server.ledger.counts).encode())

    def do_POST(self) -> None:
        """Take a message."""
        body = self._body()
        if body is None:
            return
        if not self._is_signed(body):
            self.server.ledger.note("refused")
            self._reply(HTTPStatus.UNAUTHORIZED, b"The signature does not match.\n")
            return
        message_id, event_type = _identity(body)
        if random.random() < self.server.fail_rate:  # noqa: S311 (a share, no secret)
            self.server.ledger.note("failed", message_id, event_type)
            self._reply(HTTPStatus.INTERNAL_SERVER_ERROR, b"Failed on purpose.\n")
            return
        self.server.ledger.accept(message_id, event_type)
        self._reply(HTTPStatus.NO_CONTENT)

    def _body(self) -> bytes | None:
        """Return the body; None: it was refused already."""
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            self._refuse(HTTPStatus.LENGTH_REQUIRED)
            return None
        if int(length) > BODY_LIMIT_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return None
        return self.rfile.read(int(length))

    def _is_signed(self, body: bytes) -> bool:
        is_standard = verify_standard(
            self.server.standard_keys,
            message_id=self.headers.get("webhook-id", ""),
            timestamp=self.headers.get("webhook-timestamp", ""),
            header=self.headers.get("webhook-signature", ""),
            body=body,
            now_s=time.time(),
        )
        hub = self.headers.get("X-Hub-Signature-256", "")
        return is_standard and verify_hub(self.server.hub_keys, hub, body)

    def _refuse(self, status: HTTPStatus) -> None:
        self.close_connection = True
        self.server.ledger.note("refused")
        self._reply(status)

    def _reply(
        self,
        status: HTTPStatus,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle(self) -> None:
        """Serve a connection; one that breaks is no error here."""
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Leave the lines to the ledger."""


def _identity(body: bytes) -> tuple[str, str]:
    """Return a verified message's id and type."""
    message = json.loads(body)
    return str(message["id"]), str(message["type"])
