"""
The one way out: every HTTP request that the platform makes goes through `Driver`.

Many requests at once on one thread: libcurl says which sockets to watch, epoll watches
them. No redirects, no proxies, no compression; the address is judged when it is
dialled; time, headers and body have bounds. Source: docs/explanation/delivery.md
"""

import errno
import os
import selectors
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import pycurl
from django.conf import settings

from subscriptions.addresses import is_allowed

CONNECT_TIMEOUT_S = 5
HEADERS_LIMIT_BYTES = 32 * 1024
#: Of a response's status line and headers, what an outcome keeps as text.
HEAD_CHARACTERS = 4096
DETAIL_CHARACTERS = 300
#: Open connections that wait for their next request.
IDLE_CONNECTIONS = 256
_SUCCESSES = range(200, 300)
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_EVENTS = {
    pycurl.POLL_IN: selectors.EVENT_READ,
    pycurl.POLL_OUT: selectors.EVENT_WRITE,
    pycurl.POLL_INOUT: selectors.EVENT_READ | selectors.EVENT_WRITE,
}
#: CURLE_HTTP2_STREAM, which pycurl does not name.
_E_HTTP2_STREAM = 92
#: libcurl's codes as the attempt log calls them; the rest is `network_error`.
_ERRORS = {
    pycurl.E_COULDNT_RESOLVE_HOST: "dns_error",
    pycurl.E_COULDNT_CONNECT: "connection_refused",
    pycurl.E_OPERATION_TIMEDOUT: "timeout",
    pycurl.E_SSL_CONNECT_ERROR: "tls_error",
    pycurl.E_PEER_FAILED_VERIFICATION: "tls_error",
    pycurl.E_SSL_CACERT_BADFILE: "tls_error",
    pycurl.E_SSL_CERTPROBLEM: "tls_error",
    pycurl.E_SSL_CIPHER: "tls_error",
    pycurl.E_GOT_NOTHING: "connection_reset",
    pycurl.E_RECV_ERROR: "connection_reset",
    pycurl.E_SEND_ERROR: "connection_reset",
    pycurl.E_PARTIAL_FILE: "response_invalid",
    pycurl.E_UNSUPPORTED_PROTOCOL: "response_invalid",
    pycurl.E_FTP_WEIRD_SERVER_REPLY: "response_invalid",
    pycurl.E_HTTP2: "response_invalid",
    _E_HTTP2_STREAM: "response_invalid",
    pycurl.E_WRITE_ERROR: "response_invalid",
    pycurl.E_URL_MALFORMAT: "url_invalid",
}
_WORDS = {
    "dns_error": "The host name was not found.",
    "connection_reset": "The server closed the connection without a complete answer.",
    "response_invalid": "The answer is not HTTP that can be read",
}
_VERSIONS = {
    pycurl.CURL_HTTP_VERSION_1_0: "1.0",
    pycurl.CURL_HTTP_VERSION_1_1: "1.1",
    pycurl.CURL_HTTP_VERSION_2: "2",
}
_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH}

Token = TypeVar("Token")


class BundleMissing(RuntimeError):
    """There are no certificate authorities to judge servers by."""


@lru_cache(maxsize=1)
def authorities() -> str:
    """
    Return the file of certificate authorities that the machine trusts.

    Raises: BundleMissing.
    """
    usual = ssl.get_default_verify_paths().cafile
    for path in (os.environ.get("SSL_CERT_FILE"), usual, *_BUNDLES):
        if path and Path(path).is_file():
            return path
    raise BundleMissing(
        "No certificate authorities were found. Install the package "
        "ca-certificates, or name a PEM file in SSL_CERT_FILE."
    )


@dataclass(frozen=True)
class Request:
    """What is sent: the body's bytes are exactly these."""

    url: str
    method: str = "POST"
    headers: Sequence[str] = ()
    body: bytes | None = None
    #: A client certificate and its key, in PEM.
    certificate: tuple[bytes, bytes] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Outcome:
    """
    What came of a request.

    `error` is empty when a response was read, whatever its status; else one of the
    error codes of docs/reference/messages.md. `body` is what was read of it, up to
    RESPONSE_LIMIT_BYTES; `head` the beginning of its status line and headers, as text.
    """

    status_code: int | None
    error: str
    detail: str
    headers: dict[str, str]
    body: bytes
    address: str
    started: float
    duration_s: float
    #: `1.1`, `2`; empty: no response came.
    http_version: str = ""
    head: str = ""

    @property
    def is_success(self) -> bool:
        """Whether the receiver said yes."""
        return not self.error and self.status_code in _SUCCESSES


class _Transfer(Generic[Token]):
    """One request on its way: the callbacks that libcurl calls, and their bounds."""

    def __init__(self, token: Token) -> None:
        self.token = token
        self.started = time.monotonic()
        self.refused: list[str] = []
        self.is_cut = False
        self._sockets: list[socket.socket] = []
        self._header_lines: list[bytes] = []
        self._header_bytes = 0
        self._body = bytearray()

    def open_socket(self, purpose: int, target: Any) -> Any:
        """Open a socket to the address, unless it may not be dialled."""
        family, kind, protocol, address = target
        if family not in {socket.AF_INET, socket.AF_INET6}:
            return pycurl.SOCKET_BAD
        host = str(address[0]).partition("%")[0]
        if not is_allowed(ip_address(host), settings.CALLBACK_ALLOW_CIDRS):
            self.refused.append(host)
            return pycurl.SOCKET_BAD
        opened = socket.socket(family, kind, protocol)
        # libcurl works on a duplicate; this one is closed with the transfer.
        self._sockets.append(opened)
        return opened

    def take_header(self, line: bytes) -> int | None:
        """Keep a header line; a status line begins anew."""
        self._header_bytes += len(line)
        if self._header_bytes > HEADERS_LIMIT_BYTES:
            return 0
        if line.startswith(b"HTTP/"):
            self._header_lines.clear()
        self._header_lines.append(line)
        return None

    def take_body(self, data: bytes) -> int | None:
        """Keep the data; end the transfer past the limit."""
        room = settings.RESPONSE_LIMIT_BYTES - len(self._body)
        self._body += data[:room]
        self.is_cut = len(data) > room
        return 0 if self.is_cut else None

    def close(self) -> None:
        """Close what `open_socket` opened."""
        for opened in self._sockets:
            opened.close()

    def outcome(self, curl: pycurl.Curl, code: int, message: str) -> Outcome:
        """Say what came of it."""
        if code == pycurl.E_WRITE_ERROR and self.is_cut:
            code = 0
        error, detail = self._diagnose(curl, code, message) if code else ("", "")
        return Outcome(
            status_code=curl.getinfo(pycurl.RESPONSE_CODE) or None,
            error=error,
            detail=detail.replace("\0", "")[:DETAIL_CHARACTERS],
            headers=self._headers(),
            body=bytes(self._body),
            address=curl.getinfo(pycurl.PRIMARY_IP) or "",
            started=self.started,
            duration_s=time.monotonic() - self.started,
            http_version=_VERSIONS.get(curl.getinfo(pycurl.INFO_HTTP_VERSION), ""),
            head=self._head(),
        )

    def _diagnose(self, curl: pycurl.Curl, code: int, text: str) -> tuple[str, str]:
        error = _ERRORS.get(code, "network_error")
        if error == "connection_refused":
            return self._why_no_connection(curl, text)
        if error == "timeout":
            limit = settings.DELIVERY_TIMEOUT_S
            return error, f"No complete answer within {limit} s ({text})."
        words = _WORDS.get(error)
        if words is None or not words.endswith("."):
            return error, f"{words}: {text}" if words else text
        return error, words

    def _why_no_connection(self, curl: pycurl.Curl, text: str) -> tuple[str, str]:
        if self.refused and not self._sockets:
            refused = ", ".join(self.refused)
            return "address_not_allowed", (
                f"The host is at {refused}, where callback URLs may not point. "
                "The operator can allow it (GRIDHOOK_CALLBACK_ALLOW_CIDRS)."
            )
        if curl.getinfo(pycurl.OS_ERRNO) in _UNREACHABLE:
            return "network_unreachable", text
        return "connection_refused", text

    def _head(self) -> str:
        text = b"".join(self._header_lines)[:HEAD_CHARACTERS].decode("latin-1")
        return text.replace("\0", "").replace("\r\n", "\n").strip()

    def _headers(self) -> dict[str, str]:
        pairs = (
            line.decode("latin-1").partition(":") for line in self._header_lines[1:]
        )
        return {name.strip().lower(): value.strip() for name, _, value in pairs}


class Driver(Generic[Token]):
    """
    Sends many requests at once, on the thread that calls it.

    `add` what is to be sent, under a token of the caller's; `step` moves all of them on
    and returns those that have ended. Connections are kept and used again.
    """

    def __init__(self) -> None:
        self._multi = pycurl.CurlMulti()
        self._selector = selectors.DefaultSelector()
        self._transfers: dict[pycurl.Curl, _Transfer[Token]] = {}
        self._spare: list[pycurl.Curl] = []
        self._timer_at: float | None = None
        self._unsent: list[tuple[Token, Outcome]] = []
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, IDLE_CONNECTIONS)

    def __len__(self) -> int:
        """Return how many requests are on their way."""
        return len(self._transfers) + len(self._unsent)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every connection; what is on its way is given up."""
        for curl, transfer in self._transfers.items():
            self._multi.remove_handle(curl)
            transfer.close()
            curl.close()
        for curl in self._spare:
            curl.close()
        self._transfers.clear()
        self._multi.close()
        self._selector.close()

    def add(self, request: Request, token: Token) -> None:
        """Begin to send; what cannot be sent at all ends with the next step."""
        curl = self._spare.pop() if self._spare else pycurl.Curl()
        transfer = _Transfer(token)
        try:
            _prepare(curl, request, transfer)
        except BundleMissing as error:
            self._unsent.append((token, _unsent("tls_error", error)))
            return
        except (pycurl.error, ValueError, TypeError) as error:
            self._unsent.append((token, _unsent("request_invalid", error)))
            return
        self._transfers[curl] = transfer
        self._multi.add_handle(curl)

    def step(self, wait_s: float) -> list[tuple[Token, Outcome]]:
        """Move on for at most `wait_s`; return what has ended."""
        if self._timer_at is not None:
            wait_s = min(wait_s, max(self._timer_at - time.monotonic(), 0))
        for key, events in self._selector.select(wait_s):
            self._multi.socket_action(key.fd, _action(events))
        if self._timer_at is not None and time.monotonic() >= self._timer_at:
            self._timer_at = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        return self._ended()

    def _ended(self) -> list[tuple[Token, Outcome]]:
        ended, self._unsent = self._unsent, []
        queued = 1
        while queued:
            queued, done, failed = self._multi.info_read()
            results = [(curl, 0, "") for curl in done] + failed
            ended.extend(self._finish(*result) for result in results)
        return ended

    def _finish(
        self, curl: pycurl.Curl, code: int, message: str
    ) -> tuple[Token, Outcome]:
        transfer = self._transfers.pop(curl)
        self._multi.remove_handle(curl)
        transfer.close()
        outcome = transfer.outcome(curl, code, message)
        curl.reset()
        self._spare.append(curl)
        return transfer.token, outcome

    def _watch(self, what: int, fd: int, multi: Any, data: Any) -> None:
        is_watched = fd in self._selector.get_map()
        if what == pycurl.POLL_REMOVE:
            if is_watched:
                self._selector.unregister(fd)
        elif is_watched:
            self._selector.modify(fd, _EVENTS[what])
        else:
            self._selector.register(fd, _EVENTS[what])

    def _set_timer(self, after_ms: int) -> None:
        self._timer_at = None if after_ms < 0 else time.monotonic() + after_ms / 1000


def send_all(requests: Sequence[Request]) -> list[Outcome]:
    """Send all of these at once; return what came of each, in their order."""
    outcomes: dict[int, Outcome] = {}
    with Driver[int]() as driver:
        for number, request in enumerate(requests):
            driver.add(request, number)
        while len(driver):
            outcomes.update(driver.step(1.0))
    return [outcomes[number] for number in range(len(requests))]


def _unsent(error: str, reason: Exception) -> Outcome:
    return Outcome(
        status_code=None,
        error=error,
        detail=str(reason)[:DETAIL_CHARACTERS],
        headers={},
        body=b"",
        address="",
        started=time.monotonic(),
        duration_s=0.0,
    )


def _action(events: int) -> int:
    read = pycurl.CSELECT_IN if events & selectors.EVENT_READ else 0
    write = pycurl.CSELECT_OUT if events & selectors.EVENT_WRITE else 0
    return read | write


def _prepare(curl: pycurl.Curl, request: Request, transfer: _Transfer[Any]) -> None:
    for option, value in _options().items():
        curl.setopt(option, value)
    curl.setopt(pycurl.URL, request.url)
    if request.url.lower().startswith("https:"):
        curl.setopt(pycurl.CAINFO, authorities())
    # No 100-continue: it would cost a round trip.
    curl.setopt(pycurl.HTTPHEADER, [*request.headers, "Expect:", "Accept:"])
    curl.setopt(pycurl.OPENSOCKETFUNCTION, transfer.open_socket)
    curl.setopt(pycurl.HEADERFUNCTION, transfer.take_header)
    curl.setopt(pycurl.WRITEFUNCTION, transfer.take_body)
    if request.body is not None:
        curl.setopt(pycurl.POSTFIELDS, request.body)
    curl.setopt(pycurl.CUSTOMREQUEST, request.method)
    if request.certificate is not None:
        certificate, key = request.certificate
        curl.setopt(pycurl.SSLCERT_BLOB, certificate)
        curl.setopt(pycurl.SSLKEY_BLOB, key)
        # A session of one client must not be resumed by another.
        curl.setopt(pycurl.SSL_SESSIONID_CACHE, 0)


def _options() -> dict[int, Any]:
    """Return what every request has in common."""
    return {
        pycurl.NOSIGNAL: 1,
        pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
        pycurl.FOLLOWLOCATION: 0,
        pycurl.PATH_AS_IS: 1,
        pycurl.PROXY: "",
        pycurl.NOPROXY: "*",
        pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_2TLS,
        pycurl.SSLVERSION: pycurl.SSLVERSION_TLSv1_2,
        pycurl.USERAGENT: f"Gridhook/{settings.VERSION}",
        pycurl.CONNECTTIMEOUT_MS: CONNECT_TIMEOUT_S * 1000,
        pycurl.TIMEOUT_MS: int(settings.DELIVERY_TIMEOUT_S * 1000),
    }
