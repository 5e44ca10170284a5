"""What is asked for, and what came of it."""

import errno
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pycurl
from django.conf import settings

DETAIL_CHARACTERS = 300
_SUCCESSES = range(200, 300)
#: CURLE_HTTP2_STREAM and CURLE_TOO_LARGE, which pycurl does not name.
_E_HTTP2_STREAM = 92
_E_TOO_LARGE = 100
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
    pycurl.E_BAD_CONTENT_ENCODING: "response_invalid",
    pycurl.E_HTTP2: "response_invalid",
    _E_HTTP2_STREAM: "response_invalid",
    _E_TOO_LARGE: "response_invalid",
    pycurl.E_WRITE_ERROR: "response_invalid",
    pycurl.E_URL_MALFORMAT: "url_invalid",
}
_WORDS = {
    "dns_error": "The host name was not found.",
    "connection_reset": "The server closed the connection without a complete answer.",
    "response_invalid": "The answer is not HTTP that can be read",
}
#: Words that tell what else a broken connection may be: TLS 1.3 refuses a client's
#: certificate only when the answer is read.
_TOLD = {" alert ": "tls_error", "chunk": "response_invalid"}
_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH}

#: A client certificate and its key, in PEM.
Certificate = tuple[bytes, bytes]


@dataclass(frozen=True)
class Request:
    """What is sent: the body's bytes are exactly these."""

    url: str
    method: str = "POST"
    #: With what only the receiver may know, as an answer may have: no `repr` says it.
    headers: Sequence[str] = field(default=(), repr=False)
    body: bytes | None = field(default=None, repr=False)
    certificate: Certificate | None = field(default=None, repr=False)


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
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    address: str
    started: float
    duration_s: float
    #: `1.1`, `2`; empty: no response came.
    http_version: str = ""
    head: str = field(default="", repr=False)

    @property
    def is_success(self) -> bool:
        """Whether the receiver said yes."""
        return not self.error and self.status_code in _SUCCESSES


def unsent(error: str, detail: str, *, started: float | None = None) -> Outcome:
    """Return the outcome of a request that was not made."""
    now = time.monotonic()
    started = now if started is None else started
    return Outcome(
        status_code=None,
        error=error,
        detail=detail.replace("\0", "")[:DETAIL_CHARACTERS],
        headers={},
        body=b"",
        address="",
        started=started,
        duration_s=now - started,
    )


def diagnosis(code: int, text: str, system_error: int) -> tuple[str, str]:
    """Return libcurl's error as one of ours, with words for a person."""
    error = _ERRORS.get(code, "network_error")
    if error == "connection_reset":
        error = next((one for word, one in _TOLD.items() if word in text), error)
    if error == "connection_refused" and system_error in _UNREACHABLE:
        return "network_unreachable", text
    if error == "timeout":
        return error, f"No complete answer within {settings.DELIVERY_TIMEOUT_S} s."
    words = _WORDS.get(error)
    if words is None or not words.endswith("."):
        return error, f"{words}: {text}" if words else text
    return error, words
