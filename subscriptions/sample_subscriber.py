"""
A subscriber as one should be: it consents, verifies, drops duplicates, answers soon.

Stands alone: it needs no database and no settings. `manage.py listen` runs it. It
verifies with the platform's own module, so that a clone of this repository is enough;
subscribers outside use `clients/python`, which is judged by itself.
"""

import json
import random
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from subscriptions.sample_ledger import (
    Arrived,
    Ledger,
    message_of,
    messages_of_batch,
)
from tenants import signing

BODY_LIMIT_BYTES = 10 * 1024 * 1024
#: Seconds without a byte after which a connection is closed.
PATIENCE_S = 60
BATCH = "application/cloudevents-batch+json"
_SUCCESS = 2
#: What reading anything at all as a message may raise.
_UNREADABLE = (
    ArithmeticError,
    AttributeError,
    KeyError,
    RecursionError,
    TypeError,
    ValueError,
)
_SIGNING = ("webhook-id", "webhook-timestamp", "webhook-signature")


@dataclass(frozen=True)
class Keys:
    """
    What the messages' signatures are verified by.

    Raises: ValueError: there is none, or one is malformed.
    """

    secrets: Sequence[str] = ()
    public_keys: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Refuse what no message could be verified by."""
        if not self.secrets and not self.public_keys:
            raise ValueError("give a secret or a public key")
        for secret in self.secrets:
            signing.standard_key(secret)
        for public in self.public_keys:
            signing.parse_public(public)

    def fault_of(self, headers: Any, body: bytes) -> str:
        """Return what is wrong with the signatures that they can judge; empty: none."""
        now_s = time.time()
        message_id, timestamp, items = (headers.get(name, "") for name in _SIGNING)
        if not (message_id and timestamp and items):
            return "it is not signed"
        if not signing.is_timely(timestamp, now_s):
            return f"webhook-timestamp is not within {signing.TOLERANCE_S} s of now"
        signed = {
            "message_id": message_id,
            "timestamp": timestamp,
            "header": items,
            "body": body,
            "now_s": now_s,
        }
        return self._fault_by_secrets(headers, signed) or self._fault_by_public(signed)

    def _fault_by_secrets(self, headers: Any, signed: dict[str, Any]) -> str:
        if not self.secrets:
            return ""
        standard = [signing.standard_key(secret) for secret in self.secrets]
        if not signing.verify_standard(standard, **signed):
            return "webhook-signature is by none of the secrets given"
        hub = [signing.hub_key(secret) for secret in self.secrets]
        header = headers.get("X-Hub-Signature-256", "")
        # In an overlap it is by the newest secret alone, which may not be here yet.
        is_overlap = signed["header"].count("v1,") > 1
        if not is_overlap and not signing.verify_hub(hub, header, signed["body"]):
            return "X-Hub-Signature-256 is by none of the secrets given"
        return ""

    def _fault_by_public(self, signed: dict[str, Any]) -> str:
        public = [signing.parse_public(text) for text in self.public_keys]
        if public and not signing.verify_ed25519(public, **signed):
            return "webhook-signature has no v1a by the public keys given"
        return ""


@dataclass(frozen=True)
class Manner:
    """How it behaves; by itself, as it should."""

    #: The share of requests that it answers with 500.
    fail_rate: float = 0.0
    #: The share of messages that it refuses with 422, alone or within a batch.
    refuse_rate: float = 0.0
    delay_s: float = 0.0
    #: What it answers instead of its thanks; None: 204, and 200 to batches.
    status: int | None = None
    #: Requests per minute that it grants; None: as many as come.
    rate_per_min: int | None = None
    #: Whether it knows WebSub's handshake alone.
    challenge_only: bool = False

    def is_refusing(self) -> bool:
        """Tell whether this message is one that it refuses."""
        return random.random() < self.refuse_rate  # noqa: S311 (a share, no secret)

    def is_failing(self) -> bool:
        """Tell whether this request is one that fails."""
        return random.random() < self.fail_rate  # noqa: S311 (a share, no secret)


class SampleSubscriber(ThreadingHTTPServer):
    """The server."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(
        self,
        address: tuple[str, int],
        *,
        keys: Keys,
        ledger: Ledger,
        manner: Manner = Manner(),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.keys = keys
        self.ledger = ledger
        self.manner = manner
        self._tls = tls
        super().__init__(address, _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection; the handshake of TLS is in its own thread."""
        if self._tls is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(PATIENCE_S)
        try:
            with self._tls.wrap_socket(request, server_side=True) as link:
                super().finish_request(link, client_address)
        except ssl.SSLError as error:
            self.ledger.note("refused", detail=f"TLS: {error.reason or error}")
        except (ConnectionError, TimeoutError):
            return


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = PATIENCE_S
    server: SampleSubscriber

    def do_OPTIONS(self) -> None:
        """Consent, as CloudEvents webhooks do."""
        origin = self.headers.get("WebHook-Request-Origin")
        if origin is None or self.server.manner.challenge_only:
            self._reply(HTTPStatus.OK)
            return
        rate = self.server.manner.rate_per_min
        granted = "*" if rate is None else str(rate)
        self.server.ledger.note("consent", detail=f"OPTIONS, rate {granted}")
        self._reply(
            HTTPStatus.OK,
            headers={
                "WebHook-Allowed-Origin": origin,
                "WebHook-Allowed-Rate": granted,
            },
        )

    def do_GET(self) -> None:
        """Consent, as WebSub subscribers do; else say what has arrived."""
        query = parse_qs(urlsplit(self.path).query)
        if "hub.challenge" in query:
            self.server.ledger.note("consent", detail="GET with a challenge")
            self._reply(HTTPStatus.OK, query["hub.challenge"][0].encode())
            return
        self._reply(HTTPStatus.OK, json.dumps(self.server.ledger.counts).encode())

    def do_POST(self) -> None:
        """Take a message, or several."""
        body = self._body()
        if body is None:
            return
        fault = self.server.keys.fault_of(self.headers, body)
        if fault:
            self.server.ledger.note("refused", detail=fault)
            self._reply(HTTPStatus.UNAUTHORIZED, b"The signature does not match.\n")
            return
        is_batch = self.headers.get_content_type() == BATCH
        try:
            messages = messages_of_batch(body) if is_batch else [message_of(body)]
        except _UNREADABLE:
            message_id = self.headers["webhook-id"]
            self.server.ledger.note("refused", message_id, detail="it is no message")
            self._reply(HTTPStatus.BAD_REQUEST, b"This is no message.\n")
            return
        self._take(messages, is_batch=is_batch)

    def _take(self, messages: list[Arrived], *, is_batch: bool) -> None:
        manner = self.server.manner
        time.sleep(manner.delay_s)
        if manner.is_failing():
            self._note_all("failed", messages)
            self._reply(HTTPStatus.INTERNAL_SERVER_ERROR, b"Failed on purpose.\n")
        elif manner.status is not None and manner.status // 100 != _SUCCESS:
            self._note_all("failed", messages)
            self._reply(HTTPStatus(manner.status), b"So on purpose.\n")
        else:
            self._answer([self._verdict(one) for one in messages], is_batch=is_batch)

    def _verdict(self, message: Arrived) -> dict[str, Any]:
        if self.server.manner.is_refusing():
            self._note_all("refused", [message])
            said = {"status": 422, "detail": "Refused on purpose."}
            return {"id": message.id, **said}
        self.server.ledger.accept(message)
        return {"id": message.id, "status": 200}

    def _answer(self, verdicts: list[dict[str, Any]], *, is_batch: bool) -> None:
        if is_batch:
            status = self.server.manner.status or HTTPStatus.OK
            self._reply(HTTPStatus(status), json.dumps({"results": verdicts}).encode())
        elif verdicts[0]["status"] == HTTPStatus.OK:
            self._reply(HTTPStatus(self.server.manner.status or HTTPStatus.NO_CONTENT))
        else:
            self._reply(HTTPStatus.UNPROCESSABLE_ENTITY, b"Refused on purpose.\n")

    def _note_all(self, outcome: str, messages: list[Arrived]) -> None:
        for message in messages:
            self.server.ledger.note(
                outcome, message.id, message.event_type, detail="on purpose"
            )

    def _body(self) -> bytes | None:
        """Return the body; None: it was refused already."""
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            self._refuse(HTTPStatus.LENGTH_REQUIRED)
            return None
        if len(length) > len(str(BODY_LIMIT_BYTES)) or int(length) > BODY_LIMIT_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return None
        return self.rfile.read(int(length))

    def _refuse(self, status: HTTPStatus) -> None:
        self.close_connection = True
        self.server.ledger.note("refused", detail=status.phrase)
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
            self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.end_headers()
        if status != HTTPStatus.NO_CONTENT:
            self.wfile.write(body)

    def handle(self) -> None:
        """Serve a connection; one that breaks is no error here."""
        try:
            super().handle()
        except (ConnectionError, TimeoutError, ssl.SSLError):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Leave the lines to the ledger."""
