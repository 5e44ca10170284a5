"""`manage.py replay`: a real meter file, as the callbacks of its devices."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ingest.replaying import arguments, reporting
from ingest.replaying.meter_files import FORMATS, FileUnreadable, read
from ingest.replaying.posting import Posting
from ingest.replaying.sending import Outcome, Unreachable
from tenants import secret_arguments


class Command(BaseCommand):
    """Send meter files as signed callbacks; a second time changes nothing."""

    help = (
        "Send meter files as signed callbacks. Needs no database: the source may be "
        "anywhere. Safe to repeat: the same bytes go out under the same ids."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
        parser.add_argument("--url", required=True, help="the source's URL")
        secret_arguments.add_arguments(parser, whose="the source's")
        parser.add_argument("--format", choices=["auto", *FORMATS], default="auto")
        parser.add_argument(
            "--rate",
            type=arguments.rate,
            default=None,
            help="callbacks a second, or max (the default)",
        )
        parser.add_argument("--prefix", default="", help="put before each id, and a /")
        arguments.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Read everything once, then send; exit 1 when something was not taken."""
        try:
            summary, refusals = _replay(options)
        except (FileUnreadable, Unreachable, OSError, ValueError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            reporting.as_json(summary)
            if options["json"]
            else reporting.text(summary, refusals)
        )
        taken = summary["accepted"] + summary["duplicate"]
        if taken != summary["total"]:
            left = summary["total"] - taken
            raise CommandError(f"{left} of {summary['total']} were not taken.")


def _replay(options: dict[str, Any]) -> tuple[dict[str, Any], list[Outcome]]:
    secret = secret_arguments.secret(options)
    if not secret:
        raise ValueError("Which secret? Give --secret-file, or set GRIDHOOK_SECRET.")
    sender = arguments.sender(options, url=options["url"], secret=secret)
    # Counting reads every line: a file that is wrong is refused before it is sent.
    total = sum(1 for _ in _postings(options))
    started_s = time.monotonic()
    outcomes = sender.send(_postings(options))
    tally = reporting.follow(outcomes, sender, total=total, title="Replaying")
    elapsed_s = time.monotonic() - started_s
    summary = tally.summary(retries=sender.retries, elapsed_s=elapsed_s)
    return {"total": total, **summary}, tally.examples


def _postings(options: dict[str, Any]) -> Iterator[Posting]:
    prefix = f"{options['prefix']}/" if options["prefix"] else ""
    for path in options["files"]:
        yield from read(path, options["format"], prefix)
