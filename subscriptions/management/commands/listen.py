"""`manage.py listen`: a sample subscriber."""

import argparse
import contextlib
import signal
import ssl
from http import HTTPStatus
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import BaseCommand, CommandError, CommandParser

from subscriptions.sample_ledger import Ledger
from subscriptions.sample_subscriber import Keys, Manner, SampleSubscriber
from tenants import secret_arguments

_DELAY_LIMIT_S = 3600.0


class Command(BaseCommand):
    """Run a subscriber that consents, verifies, drops duplicates and says so."""

    help = (
        "A sample subscriber: answers the consent handshake, verifies every signature, "
        "drops duplicates by message id, prints one line each and a table at the end. "
        "It gives a verdict on each message of a batch, says where an ordered device's "
        "messages have a gap, and what a day's manifest shows to be missing. Needs no "
        "database. Docs: docs/how-to/write-a-subscriber.md"
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--port", type=int, required=True, help="0: any free one")
        parser.add_argument("--bind", default="127.0.0.1", help="the address to bind")
        keys = parser.add_argument_group("what it verifies by; each may be repeated")
        secret_arguments.add_arguments(keys, whose="the endpoint's")
        keys.add_argument(
            "--public-key",
            action="append",
            default=[],
            metavar="whpk_…",
            help="the tenant's, for endpoints that are sent v1a signatures",
        )
        _add_manner(
            parser.add_argument_group("how it behaves, to see what comes of it")
        )
        tls = parser.add_argument_group("TLS")
        tls.add_argument("--cert", type=Path, help="its certificate chain, PEM")
        tls.add_argument("--key", type=Path, help="the certificate's key, PEM")
        tls.add_argument(
            "--client-ca", type=Path, help="the authority of client certificates: asked"
        )
        parser.add_argument(
            "--json-lines", type=Path, help="a file to add one JSON object each to"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve until interrupted."""
        with contextlib.ExitStack() as stack:
            path = options["json_lines"]
            record = stack.enter_context(_opened(path)) if path else None
            ledger = Ledger(print_line=self._print, record=record)
            server = stack.enter_context(_server(ledger, options))
            scheme = "https" if options["cert"] else "http"
            self._print(
                f"Listening at {scheme}://{options['bind']}:{server.server_port}/"
            )
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            with contextlib.suppress(KeyboardInterrupt):
                server.serve_forever()
            for line in ledger.table():
                self._print(line)

    def _print(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _add_manner(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--fail-rate",
        type=_share,
        default=0.0,
        metavar="SHARE",
        help="the share of requests to answer with 500, from 0 to 1",
    )
    group.add_argument(
        "--refuse-rate",
        type=_share,
        default=0.0,
        metavar="SHARE",
        help="the share of messages to refuse with 422, alone or one by one in batches",
    )
    group.add_argument(
        "--delay", type=_seconds, default=0.0, metavar="S", help="before each answer"
    )
    group.add_argument(
        "--status", type=_status, metavar="CODE", help="to answer instead of 204: 410"
    )
    group.add_argument(
        "--rate",
        type=_rate,
        metavar="N",
        help="requests a minute to grant when it consents (default: any)",
    )
    group.add_argument(
        "--challenge-only",
        action="store_true",
        help="consent by WebSub's challenge alone, not by OPTIONS",
    )


def _share(text: str) -> float:
    return _number(text, 1.0, "a share is from 0 to 1")


def _seconds(text: str) -> float:
    return _number(text, _DELAY_LIMIT_S, "a delay is from 0 to 3600 seconds")


def _number(text: str, most: float, words: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= most:
        raise argparse.ArgumentTypeError(words)
    return number


def _status(text: str) -> int:
    try:
        status = HTTPStatus(int(text))
    except ValueError:
        status = HTTPStatus.CONTINUE
    if status < HTTPStatus.OK:
        raise argparse.ArgumentTypeError("a status is a known one from 200 on")
    return int(status)


def _rate(text: str) -> int:
    rate = int(text) if text.isascii() and text.isdigit() else 0
    if rate < 1:
        raise argparse.ArgumentTypeError("a rate is a whole number from 1 on")
    return rate


def _opened(path: Path) -> TextIO:
    try:
        return path.open("a")
    except OSError as error:
        raise CommandError(f"Cannot write to {path}: {error.strerror}.") from error


def _server(ledger: Ledger, options: dict[str, Any]) -> SampleSubscriber:
    try:
        return SampleSubscriber(
            (options["bind"], options["port"]),
            keys=Keys(secret_arguments.secrets(options), options["public_key"]),
            ledger=ledger,
            manner=Manner(
                fail_rate=options["fail_rate"],
                refuse_rate=options["refuse_rate"],
                delay_s=options["delay"],
                status=options["status"],
                rate_per_min=options["rate"],
                challenge_only=options["challenge_only"],
            ),
            tls=_tls(options),
        )
    except (OSError, OverflowError, ValueError) as error:
        raise CommandError(f"Cannot listen: {error}") from error


def _tls(options: dict[str, Any]) -> ssl.SSLContext | None:
    """
    Return the context; None: plain HTTP.

    Raises: OSError (SSLError is one), ValueError.
    """
    if not options["cert"]:
        if options["key"] or options["client_ca"]:
            raise ValueError("--key and --client-ca need --cert")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options["cert"], options["key"])
    if options["client_ca"]:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(options["client_ca"])
    return context
