"""`manage.py simulate`: a synthetic fleet, over the same path as a real one."""

import itertools
import json
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ingest.replaying import arguments, fleet, reporting
from ingest.replaying.posting import Posting
from ingest.replaying.sending import Outcome, Unreachable
from tenants import secret_arguments

_DEFAULT_RATE = 5.0


class Command(BaseCommand):
    """Send the past days of a fleet, then what it measures as it happens."""

    help = (
        "A synthetic fleet: first --days of the past, a callback per device and day, "
        "then live until stopped. Values and ids follow from --seed and the moment."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--url", help="the source's URL (default: the demo's)")
        secret_arguments.add_arguments(parser, whose="the source's")
        parser.add_argument("--devices", type=int, required=True)
        parser.add_argument(
            "--rate",
            type=arguments.rate,
            required=True,
            help="callbacks a second; live, a device reports at most once a second",
        )
        parser.add_argument("--days", type=int, default=0, help="of the past, first")
        parser.add_argument(
            "--until",
            type=date.fromisoformat,
            default=None,
            metavar="DATE",
            help="the first day that is not past any more (default: today, in UTC)",
        )
        parser.add_argument(
            "--history-only", action="store_true", help="end when the past is sent"
        )
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument(
            "--duration",
            type=float,
            default=None,
            metavar="S",
            help="end after so long",
        )
        arguments.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Send until told to end; exit 1 when something was refused."""
        if options["devices"] < 1 or options["days"] < 0:
            raise CommandError("--devices is at least 1, and --days at least 0.")
        try:
            summary, refusals = _simulate(options)
        except (Unreachable, OSError, ValueError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            reporting.as_json(summary)
            if options["json"]
            else reporting.text(summary, refusals)
        )
        if refusals:
            raise CommandError("Some callbacks were refused; see above.")


def _simulate(
    options: dict[str, Any],
) -> tuple[dict[str, Any], list[Outcome]]:
    url, secret = _source(options)
    sender = arguments.sender(options, url=url, secret=secret)
    started_s = time.monotonic()
    postings = _postings(options)
    if options["duration"] is not None:
        ends_s = started_s + options["duration"]
        postings = itertools.takewhile(lambda _: time.monotonic() < ends_s, postings)
    tally = reporting.follow(
        sender.send(postings), sender, total=None, title="Simulating"
    )
    elapsed_s = time.monotonic() - started_s
    summary = tally.summary(retries=sender.retries, elapsed_s=elapsed_s)
    return summary, tally.examples


def _source(options: dict[str, Any]) -> tuple[str, str]:
    """Return the source as given, or the one of the demo that runs in this folder."""
    if options["url"] and (secret := secret_arguments.secret(options)):
        return options["url"], secret
    try:
        demo = json.loads((settings.VAR / "demo.json").read_text(encoding="utf-8"))
        return demo["source_url"], demo["source_secret"]
    except (OSError, ValueError, KeyError) as error:
        raise CommandError(
            "Which source? Give --url and --secret-file, or run beside `up --demo`."
        ) from error


def _postings(options: dict[str, Any]) -> Iterator[Posting | None]:
    devices, rate, days = options["devices"], options["rate"], options["days"]
    model = fleet.Fleet(devices=devices, seed=options["seed"])
    until = options["until"] or datetime.now(UTC).date()
    yield from model.history(first=until - timedelta(days=days), days=days)
    if options["history_only"]:
        return
    step_s = fleet.live_step_s(devices=devices, rate=rate or _DEFAULT_RATE)
    start_at = fleet.live_start(datetime.now(UTC), step_s)
    yield from model.live(
        start_at=start_at, step_s=step_s, clock=lambda: datetime.now(UTC)
    )
