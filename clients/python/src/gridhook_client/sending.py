"""
Sending callbacks: signed, with retries, the same bytes under the same id each time.

One `Client` keeps one connection, and is safe to use from several threads, one after
another.
"""

import contextlib
import http.client
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from gridhook_client import signatures
from gridhook_client.readings import Reading, body_of, check_transaction_id
from gridhook_client.replies import Receipt, SendFailed, Undecided, receipt_of

USER_AGENT = "gridhook-client/0.1.0"
#: Read of a reply at most.
REPLY_LIMIT_BYTES = 64 * 1024
_PIECE_BYTES = 16 * 1024
#: Interim replies, such as 103 Early Hints, before the one that counts.
INTERIM_LIMIT = 16
#: The longest pause that a reply may ask for.
RETRY_AFTER_LIMIT_S = 86_400.0
_BATCH = "application/cloudevents-batch+json"
#: What a device's name is shown with as it is; all else is percent-encoded.
_VISIBLE = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")
#: A connection that breaks, an answer that is none, a name that is not found.
_TROUBLE = (OSError, http.client.HTTPException)


@dataclass(frozen=True)
class Patience:
    """How long a callback is tried."""

    #: Of one attempt, from its first byte to the reply's last.
    timeout_s: float = 30.0
    attempts: int = 8
    #: Before the second attempt at most; it doubles, up to `longest_pause_s`.
    first_pause_s: float = 1.0
    longest_pause_s: float = 60.0
    #: Of all attempts and pauses: a pause that would end later is not begun.
    total_s: float = 600.0
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class _Reply:
    status: int
    body: bytes
    retry_after_s: float


class Client:
    """
    A source's sender.

    `url`, `secret`: what creating the source gave. `scheme`: `hub` or `standard`.
    `device`: the sender is one device with a key of its own, and `secret` is that key,
    64 hex digits.
    Raises: ValueError: the URL, the scheme, the secret or the device is none.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        scheme: str = "hub",
        *,
        device: str = "",
        patience: Patience = Patience(),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._connection = _Connection(url, patience.timeout_s, tls)
        self._key = _key(scheme, secret, device)
        self._scheme = scheme
        self._device = device
        self._patience = patience
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        """Show whom it sends to; no secret."""
        return f"Client({self._connection.host!r}, scheme={self._scheme!r})"

    def __enter__(self) -> "Client":
        """Return itself; the block's end closes the connection."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection; the next callback opens another."""
        with self._lock:
            self._connection.close()

    def send(
        self,
        transaction_id: str,
        readings: Iterable[Reading],
        *,
        device: str | None = None,
    ) -> Receipt:
        """
        Send readings as one callback; `device` is whose they are.

        Raises: Refused (SignatureRefused, TransactionConflict), Undecided. ValueError,
        TypeError: a reading is none.
        """
        wanted = device if device is not None else self._device or None
        return self.send_bytes(
            transaction_id, body_of(transaction_id, readings, device=wanted)
        )

    def send_bytes(
        self,
        transaction_id: str,
        body: bytes,
        *,
        content_type: str = "application/json",
    ) -> Receipt:
        """
        Send a body as it is, until it is decided or the patience ends.

        `transaction_id`: as the receipt will name it: of other content types than the
        default, see the platform's page of formats.
        Raises: Refused (SignatureRefused, TransactionConflict), Undecided. ValueError:
        the id is none, or cannot be a header's value; the body is a batch.
        """
        check_transaction_id(transaction_id)
        if content_type.partition(";")[0].strip().lower() == _BATCH:
            raise ValueError("A batch has a receipt for each event: send one by one.")
        if self._scheme == "standard" and not _is_header(transaction_id):
            raise ValueError("With `standard`, a transaction id is printable ASCII.")
        give_up_at = time.monotonic() + self._patience.total_s
        with self._lock:
            attempt = 0
            while True:
                attempt += 1
                try:
                    receipt = self._attempt(transaction_id, body, content_type)
                except Undecided as error:
                    self._pause(error, attempt, give_up_at)
                except SendFailed as error:
                    error.attempts = attempt
                    raise
                else:
                    return replace(receipt, attempts=attempt)

    def _attempt(self, transaction_id: str, body: bytes, content_type: str) -> Receipt:
        # Signed anew each time: the moment changes, the id and the bytes never do.
        headers = {
            "Content-Type": content_type,
            "User-Agent": USER_AGENT,
            **self._signature(transaction_id, body),
        }
        if self._device:
            headers["X-Device-Id"] = quote(self._device, safe=_VISIBLE)
        try:
            reply = self._connection.post(body, headers)
        except _TROUBLE as error:
            self._connection.close()
            raise Undecided(_words(error), status=None) from None
        try:
            return receipt_of(reply.status, reply.body, transaction_id)
        except Undecided as error:
            error.retry_after_s = reply.retry_after_s
            raise

    def _signature(self, transaction_id: str, body: bytes) -> dict[str, str]:
        if self._scheme == "hub":
            return signatures.hub_headers(self._key, body)
        now_s = int(time.time())
        return signatures.standard_headers(self._key, transaction_id, now_s, body)

    def _pause(self, error: Undecided, attempt: int, give_up_at: float) -> None:
        """Wait before the next attempt; without one left, say so."""
        patience = self._patience
        longest_s = patience.first_pause_s * 2.0 ** min(attempt - 1, 60)
        # Anywhere in the pause: a power cut's end must not bring all devices at once.
        jitter_s = random.uniform(0, min(longest_s, patience.longest_pause_s))  # noqa: S311
        pause_s = error.retry_after_s + jitter_s
        is_last = attempt >= patience.attempts
        if is_last or time.monotonic() + pause_s > give_up_at:
            error.attempts = attempt
            raise error
        patience.sleep(pause_s)


def _key(scheme: str, secret: str, device: str) -> bytes:
    if scheme not in {"hub", "standard"}:
        raise ValueError("The scheme is hub or standard.")
    if device:
        return _device_key(secret)
    if not secret:
        raise ValueError("The secret is empty.")
    if scheme == "hub":
        return signatures.hub_key(secret)
    return signatures.standard_key(secret)


def _device_key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != signatures.KEY_BYTES:
        raise ValueError("A device's own key is 64 hex digits.")
    return key


def _is_header(text: str) -> bool:
    return text.isascii() and text.isprintable() and text == text.strip()


def _words(error: BaseException) -> str:
    """Return what went wrong on the way."""
    return f"{type(error).__name__}: {error}"


class _Response(http.client.HTTPResponse):
    """The reply that counts: interim ones before it are passed over."""

    def begin(self) -> None:
        """
        Read status and headers.

        Raises: HTTPException: so many interim replies are none.
        """
        for _ in range(INTERIM_LIMIT + 1):
            super().begin()
            # After 101 comes another protocol.
            if self.status >= HTTPStatus.OK or self.status < HTTPStatus.PROCESSING:
                return
            # It reads the next one as if there had been none.
            self.headers = None  # type: ignore[assignment]
        raise http.client.HTTPException(f"More than {INTERIM_LIMIT} interim replies")


class _Connection:
    """One connection to the platform, kept while it serves."""

    def __init__(self, url: str, timeout_s: float, tls: ssl.SSLContext | None) -> None:
        if not _is_header(url) or " " in url:
            raise ValueError("The URL has a character that must be percent-encoded.")
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("The URL is http or https, and has a host.")
        if parts.username is not None or parts.fragment:
            raise ValueError("The URL has no user name and no fragment.")
        self.host = parts.netloc
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout_s = timeout_s
        # No proxy variable is asked, and no redirect is followed.
        self._http: http.client.HTTPConnection
        if parts.scheme == "https":
            tls = tls or ssl.create_default_context()
            self._http = http.client.HTTPSConnection(
                parts.hostname, parts.port, context=tls
            )
        else:
            tls = None
            self._http = http.client.HTTPConnection(parts.hostname, parts.port)
        self._http.response_class = _Response
        self._tls = tls

    def close(self) -> None:
        """Close it."""
        self._http.close()

    def post(self, body: bytes, headers: dict[str, str]) -> _Reply:
        """
        Return the reply.

        A kept connection may have been closed at the other end meanwhile: then, at
        once, another; the platform knows what it has by the id.
        Raises: OSError, HTTPException.
        """
        is_kept = self._http.sock is not None
        try:
            return self._exchange(body, headers)
        except (ConnectionError, http.client.BadStatusLine):
            self.close()
            if not is_kept:
                raise
        return self._exchange(body, headers)

    def _exchange(self, body: bytes, headers: dict[str, str]) -> _Reply:
        if self._http.sock is None:
            self._http.sock = self._dial()
        with _Deadline(self._http.sock, self._timeout_s):
            if isinstance(self._http.sock, ssl.SSLSocket):
                # At once, where it was done before.
                self._http.sock.do_handshake()
            # It may have been answered before all was read (413): the answer counts.
            with contextlib.suppress(ConnectionError):
                self._http.request("POST", self._target, body, headers)
            with self._http.getresponse() as response:
                content, is_whole = _content(response)
                asked = response.getheader("Retry-After", "")
        if not is_whole or response.status < HTTPStatus.OK:
            self.close()
        return _Reply(response.status, content, retry_after(asked))

    def _dial(self) -> socket.socket:
        """Connect; of TLS the handshake is left to the exchange, for its deadline."""
        address = (self._http.host, self._http.port)
        link = socket.create_connection(address, self._timeout_s)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            return link
        return self._tls.wrap_socket(
            link, server_hostname=self._http.host, do_handshake_on_connect=False
        )


def _content(response: http.client.HTTPResponse) -> tuple[bytes, bool]:
    """Return the reply's beginning, and whether that is all of it."""
    content = b""
    while len(content) < REPLY_LIMIT_BYTES:
        piece = response.read1(_PIECE_BYTES)
        if not piece:
            if response.length:
                raise http.client.IncompleteRead(content, response.length)
            return content, True
        content += piece
    return content, False


class _Deadline:
    """Ends a socket's exchange that takes too long, however slowly bytes trickle."""

    def __init__(self, sock: socket.socket, timeout_s: float) -> None:
        self._sock = sock
        self._is_over = False
        self._timer = threading.Timer(timeout_s, self._end)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        if self._is_over:
            raise TimeoutError("The reply did not end in time.")

    def _end(self) -> None:
        self._is_over = True
        # Not SSLSocket's own: that one lets a thread that still writes do so in clear.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)


def retry_after(text: str) -> float:
    """
    Return the seconds that `Retry-After` asks for, or has until its date; else 0.

    A day at most: a device must not be silenced for good by one header.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), RETRY_AFTER_LIMIT_S)
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        wanted_s = (moment - datetime.now(tz=timezone.utc)).total_seconds()
    except (TypeError, ValueError, OverflowError, IndexError):
        return 0.0
    return min(max(wanted_s, 0.0), RETRY_AFTER_LIMIT_S)
