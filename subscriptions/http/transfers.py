"""One libcurl handle: its fixed options, one request after another, their bounds."""

import socket
import time
from dataclasses import dataclass, field
from ipaddress import ip_address
from math import ceil
from typing import Any

import pycurl
from django.conf import settings

from subscriptions.http.addresses import Target, is_allowed, not_allowed
from subscriptions.http.outcomes import (
    DETAIL_CHARACTERS,
    Certificate,
    Outcome,
    Request,
    diagnosis,
)
from subscriptions.http.trust import authorities

CONNECT_TIMEOUT_S = 5
HEADERS_LIMIT_BYTES = 32 * 1024
#: Of a response's status line and headers, what an outcome keeps as text.
HEAD_CHARACTERS = 4096
#: A connection in use is not kept beyond this, so that a name that moved is followed.
_CONNECTION_LIFE_S = 300
_VERSIONS = {
    pycurl.CURL_HTTP_VERSION_1_0: "1.0",
    pycurl.CURL_HTTP_VERSION_1_1: "1.1",
    pycurl.CURL_HTTP_VERSION_2: "2",
}
#: No 100-continue: it would cost a round trip.
_LAST_HEADERS = ("Expect:", "Accept:")


@dataclass(frozen=True)
class Kind:
    """What is never taken off a handle, nor put onto another."""

    certificate: Certificate | None = field(repr=False)
    #: Whether its host is a name, whose addresses are set with each request.
    is_pinned: bool


class Transfer:
    """A handle with the callbacks that libcurl calls."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.curl = pycurl.Curl()
        self._set: dict[int, Any] = {}
        self._sockets: list[socket.socket] = []
        self._target: Target | None = None
        self._judged: tuple[str, ...] = ()
        self._is_refused = False
        self._dialled = ""
        self._header_lines: list[bytes] = []
        self._header_bytes = 0
        self._body = bytearray()
        self._is_cut = False
        self._started = 0.0
        for option, value in self._options().items():
            self.curl.setopt(option, value)
        if kind.certificate is not None:
            certificate, key = kind.certificate
            self.curl.setopt(pycurl.SSLCERT_BLOB, certificate)
            self.curl.setopt(pycurl.SSLKEY_BLOB, key)
            # A session of one client must not be resumed by another.
            self.curl.setopt(pycurl.SSL_SESSIONID_CACHE, 0)

    def _options(self) -> dict[int, Any]:
        return {
            pycurl.NOSIGNAL: 1,
            pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
            pycurl.FOLLOWLOCATION: 0,
            pycurl.PATH_AS_IS: 1,
            pycurl.PROXY: "",
            pycurl.NOPROXY: "*",
            pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_2TLS,
            pycurl.HTTP09_ALLOWED: 0,
            pycurl.HTTP_CONTENT_DECODING: 0,
            pycurl.SSLVERSION: pycurl.SSLVERSION_TLSv1_2,
            pycurl.MAXLIFETIME_CONN: _CONNECTION_LIFE_S,
            pycurl.USERAGENT: f"Gridhook/{settings.VERSION}",
            pycurl.CONNECTTIMEOUT_MS: CONNECT_TIMEOUT_S * 1000,
            pycurl.OPENSOCKETFUNCTION: self._open_socket,
            pycurl.HEADERFUNCTION: self._take_header,
            pycurl.WRITEFUNCTION: self._take_body,
        }

    def begin(
        self,
        request: Request,
        target: Target,
        addresses: tuple[str, ...],
        started: float,
    ) -> None:
        """
        Make the request the handle's next; `addresses`: where its host is, as judged.

        Raises: BundleMissing, pycurl.error, ValueError, TypeError: it cannot be sent.
        """
        self._started = started
        self._target = target
        self._judged = addresses
        self._is_refused = False
        self._dialled = ""
        self._header_lines.clear()
        self._header_bytes = 0
        self._body = bytearray()
        self._is_cut = False
        left_s = settings.DELIVERY_TIMEOUT_S - (time.monotonic() - started)
        # Full tenths of a second, so that it seldom needs to be set anew.
        self._put(pycurl.TIMEOUT_MS, max(ceil(left_s * 10) * 100, 1))
        self._put(pycurl.URL, request.url)
        if target.scheme == "https":
            self._put(pycurl.CAINFO, authorities())
        if not target.address:
            # Always: libcurl takes the list once, and its cache forgets it in time.
            self.curl.setopt(pycurl.RESOLVE, _pins(target, addresses))
        if request.body is None:
            self.curl.setopt(pycurl.HTTPGET, 1)
        else:
            self.curl.setopt(pycurl.POSTFIELDS, request.body)
        self._put(pycurl.CUSTOMREQUEST, request.method)
        self.curl.setopt(pycurl.HTTPHEADER, [*request.headers, *_LAST_HEADERS])

    def _put(self, option: int, value: Any) -> None:
        """Set an option that is not so already."""
        if self._set.get(option) != value:
            self.curl.setopt(option, value)
            self._set[option] = value

    def _open_socket(self, purpose: int, target: Any) -> Any:
        """Open a socket to an address that was judged, and may be dialled: the wall."""
        family, kind, protocol, address = target
        if family not in {socket.AF_INET, socket.AF_INET6}:
            return pycurl.SOCKET_BAD
        host = str(address[0]).partition("%")[0]
        if not self._may_dial(host):
            self._is_refused = True
            return pycurl.SOCKET_BAD
        self._dialled = host
        opened = socket.socket(family, kind, protocol)
        # libcurl works on a duplicate; this one is closed with the transfer.
        self._sockets.append(opened)
        return opened

    def _may_dial(self, host: str) -> bool:
        # Not by libcurl's word alone, which could have looked the name up by itself.
        address = ip_address(host)
        is_judged = address in map(ip_address, self._judged)
        return is_judged and is_allowed(address, settings.CALLBACK_ALLOW_CIDRS)

    def _take_header(self, line: bytes) -> int | None:
        """Keep a header line; a status line begins anew."""
        self._header_bytes += len(line)
        if self._header_bytes > HEADERS_LIMIT_BYTES:
            return 0
        if line.startswith(b"HTTP/"):
            self._header_lines.clear()
        self._header_lines.append(line)
        return None

    def _take_body(self, data: bytes) -> int | None:
        """Keep the data; end the transfer past the limit."""
        room = settings.RESPONSE_LIMIT_BYTES - len(self._body)
        self._body += data[:room]
        self._is_cut = len(data) > room
        return 0 if self._is_cut else None

    def end(self, code: int, message: str) -> Outcome:
        """Say what came of the request; `code`, `message`: libcurl's."""
        for opened in self._sockets:
            opened.close()
        is_reached = bool(self._sockets)
        self._sockets.clear()
        if code == pycurl.E_WRITE_ERROR and self._is_cut:
            code = 0
        error, detail = self._why(code, message, is_reached) if code else ("", "")
        read = self.curl.getinfo
        return Outcome(
            status_code=read(pycurl.RESPONSE_CODE) or None,
            error=error,
            detail=detail.replace("\0", "")[:DETAIL_CHARACTERS],
            headers=self._headers(),
            body=bytes(self._body),
            address=read(pycurl.PRIMARY_IP) or self._dialled,
            started=self._started,
            duration_s=time.monotonic() - self._started,
            http_version=_VERSIONS.get(read(pycurl.INFO_HTTP_VERSION), ""),
            head=self._head(),
        )

    def _why(self, code: int, message: str, is_reached: bool) -> tuple[str, str]:
        if self._is_refused and self._target is not None and not is_reached:
            return "address_not_allowed", not_allowed(self._target)
        return diagnosis(code, message, self.curl.getinfo(pycurl.OS_ERRNO))

    def _head(self) -> str:
        text = b"".join(self._header_lines)[:HEAD_CHARACTERS].decode("latin-1")
        return text.replace("\0", "").replace("\r\n", "\n").strip()

    def _headers(self) -> dict[str, str]:
        pairs = (
            line.decode("latin-1").partition(":") for line in self._header_lines[1:]
        )
        return {name.strip().lower(): value.strip() for name, _, value in pairs}

    def close(self) -> None:
        """Give the handle up, and its sockets."""
        for opened in self._sockets:
            opened.close()
        self._sockets.clear()
        self.curl.close()


def _pins(target: Target, addresses: tuple[str, ...]) -> list[str]:
    """Return the addresses as libcurl takes them, for this host and port alone."""
    # With a plus: the entry ages as others do (60 s), so that names of long ago are
    # forgotten. No request lives that long, and each one's list replaces the last.
    joined = ",".join(f"[{one}]" if ":" in one else one for one in addresses)
    return [f"+{target.host}:{target.port}:{joined}"]
