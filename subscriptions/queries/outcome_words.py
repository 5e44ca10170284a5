"""What came of requests, in words for a person."""

#: What the attempt log's codes mean; unknown ones are shown as they are.
_ERRORS = {
    "timeout": "No answer in time",
    "worker_lost": "The platform's worker was lost meanwhile",
    "dns_error": "The host name was not found",
    "connection_refused": "Nothing listens there",
    "network_unreachable": "No way leads to its network",
    "connection_reset": "The connection broke off",
    "tls_error": "The TLS certificate or handshake failed",
    "address_not_allowed": "The address is private and not allowed",
    "http_error": "The receiver refused it",
    "response_invalid": "What came is no HTTP that can be read",
    "url_invalid": "The URL cannot be dialled",
}
#: What the usual refusals mean to whoever has to mend it.
_STATUSES = {
    301: "The receiver moved: redirects are not followed",
    302: "The receiver moved: redirects are not followed",
    307: "The receiver moved: redirects are not followed",
    308: "The receiver moved: redirects are not followed",
    400: "The receiver could not read it",
    401: "The receiver did not accept the signature or the credentials",
    403: "The receiver forbids it",
    404: "Nothing is at this URL",
    405: "The receiver takes no POST at this URL",
    410: "The receiver says it is gone for good",
    413: "The receiver finds it too large",
    415: "The receiver does not take JSON",
    429: "The receiver asks for fewer requests",
    500: "The receiver failed inside",
    502: "The proxy before the receiver could not reach it",
    503: "The receiver is not available",
    504: "The proxy before the receiver waited in vain",
}


def outcome_words(status_code: int | None, error: str) -> str:
    """Return an answer, or what came instead, in words; empty: all was well."""
    words = _ERRORS.get(error, error.replace("_", " ").capitalize())
    if error == "http_error" and status_code is not None:
        words = _STATUSES.get(status_code, words)
    return ": ".join(part for part in (str(status_code or ""), words) if part)
