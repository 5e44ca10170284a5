"""`manage.py listen`: a sample subscriber."""

import argparse
import contextlib
import signal
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from subscriptions.sample_subscriber import Ledger, SampleSubscriber


class Command(BaseCommand):
    """Run a subscriber that consents, verifies, drops duplicates and says so."""

    help = (
        "A sample subscriber: answers the consent handshake, verifies every signature, "
        "drops duplicates by message id, prints one line each. Needs no database."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--port", type=int, required=True, help="0: any free one")
        parser.add_argument("--bind", default="127.0.0.1", help="the address to bind")
        parser.add_argument(
            "--secret",
            action="append",
            required=True,
            help="the endpoint's secret; again for each one that is in force",
        )
        parser.add_argument(
            "--fail-rate",
            type=_share,
            default=0.0,
            help="the share of messages to answer with 500, from 0 to 1",
        )
        parser.add_argument(
            "--json-lines", type=Path, help="a file to add one JSON object each to"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve until interrupted."""
        with contextlib.ExitStack() as stack:
            path = options["json_lines"]
            record = stack.enter_context(path.open("a")) if path else None
            ledger = Ledger(print_line=self._print, record=record)
            server = stack.enter_context(_server(ledger, options))
            self._print(f"Listening at http://{options['bind']}:{server.server_port}/")
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            with contextlib.suppress(KeyboardInterrupt):
                server.serve_forever()
            counts = ", ".join(f"{n} {name}" for name, n in ledger.counts.items())
            self._print(counts or "Nothing came.")

    def _print(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError("a share is from 0 to 1")
    return share


def _server(ledger: Ledger, options: dict[str, Any]) -> SampleSubscriber:
    try:
        return SampleSubscriber(
            (options["bind"], options["port"]),
            secrets=options["secret"],
            ledger=ledger,
            fail_rate=options["fail_rate"],
        )
    except (OSError, OverflowError, ValueError) as error:
        raise CommandError(f"Cannot listen: {error}") from error
