"""The command lines of the platform's processes."""

import sys
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from signal import SIGINT, SIGTERM
from ssl import CERT_NONE, create_default_context

from django.conf import settings

from config.supervisor import Service
from ingest.listener import STOP_TIMEOUT_S
from ingest.listener import command as listener_command

MANAGE = [sys.executable, str(settings.BASE_DIR / "manage.py")]
_OK = 200
#: Celery warns of root on five lines a worker; a container has no other user.
_QUIET = "ignore:You're running the worker with superuser privileges"


def listener(count: int) -> Service:
    """Return the listener, in `count` processes that share its port."""
    return Service(
        name="listener",
        command=listener_command(count),
        is_ready=_answers(
            settings.LISTENER_PORT, "/readyz", tls=bool(settings.TLS_CERT)
        ),
        stop_signal=SIGINT,
        drain_signal=SIGTERM,
        stop_timeout_s=settings.DRAIN_S + STOP_TIMEOUT_S + 5,
    )


def console() -> Service:
    """Return the console and API."""
    return Service(
        name="console",
        command=[
            sys.executable, "-m", "granian", "--interface", "wsgi",
            "--host", settings.BIND, "--port", str(settings.CONSOLE_PORT),
            "--workers", "1", "--blocking-threads", "4", "--respawn-failed-workers",
            "--no-ws", "--log-level", "warning", "config.wsgi:application",
        ],
        is_ready=_answers(settings.CONSOLE_PORT, "/admin/login/"),
    )  # fmt: skip


def worker(queue: str, number: int = 1) -> Service:
    """Return a worker of one queue; one process does one thing at a time."""
    return Service(
        name=f"{queue}-{number}",
        command=[
            *_celery("worker"), "--queues", queue, "--pool", "solo",
            "--hostname", f"{queue}{number}@%h",
            "--without-gossip", "--without-mingle", "--without-heartbeat",
        ],
        environment={"PYTHONWARNINGS": _QUIET},
        # The longest request is seen to its end, and written down.
        stop_timeout_s=settings.DELIVERY_TIMEOUT_S + 5,
    )  # fmt: skip


def beat() -> Service:
    """Return the clock that starts the sweeps."""
    return Service(name="beat", command=[*_celery("beat"), "--pidfile="])


def _celery(command: str) -> list[str]:
    app = ["-A", "config.celery", "--quiet"]
    return [sys.executable, "-m", "celery", *app, command, "--loglevel", "WARNING"]


def _answers(port: int, path: str, *, tls: bool = False) -> Callable[[], bool]:
    """Return a probe of a local page; which certificate it has is not its concern."""

    def probe() -> bool:
        context = create_default_context()
        context.check_hostname = False
        context.verify_mode = CERT_NONE
        host = settings.BIND if settings.BIND != "0.0.0.0" else "127.0.0.1"  # noqa: S104
        page = (
            HTTPSConnection(host, port, timeout=2, context=context)
            if tls
            else HTTPConnection(host, port, timeout=2)
        )
        try:
            page.request("GET", path)
            return page.getresponse().status == _OK
        except (OSError, HTTPException):
            return False
        finally:
            page.close()

    return probe
