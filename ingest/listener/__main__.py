"""`python -m ingest.listener`: a listener alone, on this machine or any other."""

import argparse
import multiprocessing
import os
import sys
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from ingest.listener import check_key, workers
from ingest.listener.server import DrainingServer

#: What stands for a setting when it is given here.
_OPTIONS = {
    "host": "GRIDHOOK_BIND",
    "port": "GRIDHOOK_LISTENER_PORT",
    "tls_cert": "GRIDHOOK_TLS_CERT",
    "tls_key": "GRIDHOOK_TLS_KEY",
}


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    given = _arguments()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    for option, name in _OPTIONS.items():
        if (value := getattr(given, option)) is not None:
            os.environ[name] = value
            os.environ.pop(f"{name}_FILE", None)
    try:
        if settings.TLS_CERT:
            check_key(Path(settings.TLS_KEY))
    except ImproperlyConfigured as error:
        sys.exit(str(error))
    # What the main process shares with its workers, it shares by forking.
    multiprocessing.set_start_method("fork")
    workers.bind_to_this_process()
    DrainingServer(given.workers).serve()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ingest.listener",
        description="Take callbacks. What is not given comes from the settings.",
    )
    for option, name in _OPTIONS.items():
        parser.add_argument(f"--{option.replace('_', '-')}", help=f"for {name}")
    parser.add_argument("--workers", type=int, default=1, help="processes on the port")
    return parser.parse_args()


if __name__ == "__main__":
    main()
