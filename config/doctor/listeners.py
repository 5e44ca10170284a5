"""What answers on this machine: the listener, its TLS and its limiter; the console."""

import re
import ssl
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from django.conf import settings

from config.doctor.findings import Bounds, Finding, fail, ok, reason, warn
from config.environment import running_server

_TIMEOUT_S = 2.0
_OK = 200
_READ_BYTES = 4 * 1024 * 1024
_LIMITER = re.compile(
    r"^gridhook_listener_rate_limiter_local(?:\{[^}]*\})? ([0-9.]+)$", re.MULTILINE
)
#: Days that a certificate has run out for, or will not before it is a warning.
EXPIRED_DAYS = Bounds(warn=-21, fail=0)
_START = "Start it with `manage.py up`, or look at its log."
_NOT_READY = (
    "It drains, cannot reach the database, or has too much in hand: look at the "
    "database first."
)
_NO_FIGURES = "Look at the listener's log, and at the database that it asks."


@dataclass(frozen=True)
class Page:
    """What a port answered."""

    status: int
    text: str
    #: `TLSv1.3`; None: clear text.
    tls: str | None


def fetch(port: int, path: str, *, tls: bool) -> Page:
    """
    Return a local page, whichever certificate stands before it.

    Raises: OSError, HTTPException.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # Who is bound to every address is asked at this machine's own.
    every = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (compared, not bound)
    host = every.get(settings.BIND, settings.BIND)
    page = (
        HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=context)
        if tls
        else HTTPConnection(host, port, timeout=_TIMEOUT_S)
    )
    with closing(page):
        page.request("GET", path)
        version = page.sock.version() if isinstance(page.sock, ssl.SSLSocket) else None
        reply = page.getresponse()
        text = reply.read(_READ_BYTES).decode("utf-8", "replace")
        return Page(reply.status, text, version)


def _port(name: str, otherwise: int) -> int:
    """Return the port that a running `up` has taken; else the one that is set."""
    return int(running_server(name) or otherwise)


def check_listener() -> list[Finding]:
    """Tell whether the listener is alive and ready, and how it speaks and counts."""
    port = _port("listener_port", settings.LISTENER_PORT)
    tls = bool(settings.TLS_CERT)
    alive, page = ask("listener.alive", port, "/healthz", tls=tls, advice=_START)
    if page is None:
        return [alive]
    ready, _ = ask("listener.ready", port, "/readyz", tls=tls, advice=_NOT_READY)
    limiter, figures = ask(
        "listener.rate_limiter", port, "/metrics", tls=tls, advice=_NO_FIGURES
    )
    return [
        alive,
        *([judge_tls(page.tls)] if page.tls else []),
        ready,
        judge_limiter(figures.text) if figures else limiter,
    ]


def ask(
    code: str, port: int, path: str, *, tls: bool, advice: str
) -> tuple[Finding, Page | None]:
    """Return what a page's answer means, and the page; None: there was none."""
    try:
        page = fetch(port, path, tls=tls)
    except (OSError, HTTPException) as error:
        return fail(code, f"port {port}, {path}: {reason(error)}", advice), None
    seen = f"port {port}, {path} answers {page.status}"
    finding = ok(code, seen) if page.status == _OK else fail(code, seen, advice)
    return finding, page


def check_console() -> Finding:
    """Tell whether people are let in."""
    finding, _ = ask(
        "console.alive",
        _port("console_port", settings.CONSOLE_PORT),
        "/admin/login/",
        tls=False,
        advice=_START,
    )
    return finding


def judge_limiter(figures: str) -> Finding:
    """Judge whether the listeners count rates together."""
    code = "listener.rate_limiter"
    if any(float(value) for value in _LIMITER.findall(figures)):
        return warn(
            code,
            "a listener counts rates for itself alone",
            "Rates are exact again once its Redis answers: look at BROKER_URL and "
            "GRIDHOOK_RATE_LIMIT_URL.",
        )
    return ok(code, "no listener counts for itself alone")


def judge_tls(version: str) -> Finding:
    """Judge the version that the listener spoke."""
    if version == "TLSv1.3":
        return ok("listener.tls", version)
    return warn(
        "listener.tls",
        version,
        "Let the listener (or the proxy before it) speak TLS 1.3.",
    )


def check_certificate(now: datetime | None = None) -> Finding:
    """Tell when the listener's certificate runs out, or who may do without one."""
    if not settings.TLS_CERT:
        return judge_clear_text(settings.BIND)
    path = Path(settings.TLS_CERT)
    try:
        chain = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        return fail(
            "listener.certificate",
            f"{path}: {reason(error)}",
            "GRIDHOOK_TLS_CERT names a PEM file with the certificate first.",
        )
    ends_at = min(one.not_valid_after_utc for one in chain)
    return judge_certificate(ends_at, now or datetime.now(UTC))


def judge_certificate(ends_at: datetime, now: datetime) -> Finding:
    """Judge how long the certificate is good for."""
    days = (ends_at - now).total_seconds() / 86_400
    return EXPIRED_DAYS.judge(
        "listener.certificate",
        -days,
        f"good until {ends_at:%Y-%m-%d %H:%M} UTC, {days:.0f} days",
        "Renew it, put the files in place, and start the listener again.",
    )


def judge_clear_text(bind: str) -> Finding:
    """Judge a listener without TLS."""
    code = "listener.certificate"
    if _is_loopback(bind):
        return ok(code, f"clear text, on {bind} alone")
    return warn(
        code,
        f"clear text on {bind}",
        "Set GRIDHOOK_TLS_CERT and GRIDHOOK_TLS_KEY, or let only a proxy that speaks "
        "TLS reach it.",
    )


def _is_loopback(bind: str) -> bool:
    """Tell whether only this machine reaches the address; a name may mean any."""
    try:
        return bind == "localhost" or ip_address(bind).is_loopback
    except ValueError:
        return False
