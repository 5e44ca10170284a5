"""
The process that devices reach: verifies callbacks and makes them durable.

`command` is how it is started; `server` runs its processes, `rsgi` is their door;
`core` is what they do.
"""

import sys
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

#: Connections that a worker serves at once, and as many that wait in the kernel.
BACKLOG = 2048
#: Seconds that a worker has for the requests it began: longer than the body of one may
#: take to come, and its commit after that.
STOP_TIMEOUT_S = 20


def command(workers: int) -> list[str]:
    """
    Return the command that runs a listener with this many processes.

    Raises: ImproperlyConfigured: the TLS key is in a form that the server cannot read.
    """
    arguments = [
        sys.executable, "-m", "ingest.listener",
        "--host", settings.BIND,
        "--port", str(settings.LISTENER_PORT),
        "--workers", str(workers),
    ]  # fmt: skip
    if settings.TLS_CERT:
        check_key(Path(settings.TLS_KEY))
        arguments += ["--tls-cert", settings.TLS_CERT, "--tls-key", settings.TLS_KEY]
    return arguments


def check_key(path: Path) -> None:
    """
    Check that the server can read a TLS key.

    Raises: ImproperlyConfigured: it cannot; says what to do.
    """
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
