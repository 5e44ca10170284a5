"""
The process that devices reach: verifies callbacks and makes them durable.

`command` is how it is started; `core` is what it does; `rsgi` is the server's door.
"""

import sys
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

#: Connections that wait for the process to accept them.
BACKLOG = 2048


def command(workers: int) -> list[str]:
    """
    Return the command that runs a listener with this many processes.

    Raises: ImproperlyConfigured: the TLS key is in a form that the server cannot read.
    """
    arguments = [
        sys.executable, "-m", "granian",
        "--interface", "rsgi",
        "--host", settings.BIND,
        "--port", str(settings.LISTENER_PORT),
        "--workers", str(workers),
        "--loop", "uvloop",
        "--no-ws",
        "--backlog", str(BACKLOG),
        "--backpressure", str(BACKLOG),
        "--http1-header-read-timeout", "10000",
        "--http2-max-headers-size", "65536",
        "--respawn-failed-workers",
        "--respawn-interval", "0.5",
        "--workers-kill-timeout", "10",
        "--log-level", "warning",
    ]  # fmt: skip
    if settings.TLS_CERT:
        _check_key(Path(settings.TLS_KEY))
        arguments += [
            "--ssl-certificate", settings.TLS_CERT,
            "--ssl-keyfile", settings.TLS_KEY,
            "--ssl-protocol-min", "tls1.3",
        ]  # fmt: skip
    return [*arguments, "ingest.listener.rsgi:listener"]


def _check_key(path: Path) -> None:
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ImproperlyConfigured(
            f"GRIDHOOK_TLS_KEY: {path}: {error.strerror or 'cannot be read'}."
        ) from error
    if "-----BEGIN PRIVATE KEY-----" not in text:
        raise ImproperlyConfigured(
            f"GRIDHOOK_TLS_KEY: {path} is not an unencrypted PKCS#8 key. Convert it: "
            f"openssl pkcs8 -topk8 -nocrypt -in {path} -out key.pem"
        )
