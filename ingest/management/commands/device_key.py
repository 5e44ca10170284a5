"""`manage.py device_key`: the keys that single devices sign with."""

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ingest.models import Scheme
from tenants import signing

#: How a scheme makes its key of a secret.
_KEYS = {Scheme.HUB: signing.hub_key, Scheme.STANDARD: signing.standard_key}


class Command(BaseCommand):
    """Derive devices' keys from a source's secret; asks no database."""

    help = "Print the key that each device signs with, from the source's secret."
    #: It runs where devices are provisioned: without a database, without keys.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("device", nargs="+", help="as its readings name it: WM-1")
        parser.add_argument("--scheme", choices=Scheme.values, default=Scheme.HUB)
        parser.add_argument(
            "--secret-file",
            type=Path,
            help="holds the source's secret (default: standard input)",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print them, in hexadecimal digits."""
        try:
            secret = _secret(options["secret_file"])
            key = _KEYS[options["scheme"]](secret)
        except (OSError, ValueError) as error:
            raise CommandError(str(error)) from error
        keys = {one: signing.device_key(key, one).hex() for one in options["device"]}
        if options["json"]:
            self.stdout.write(json.dumps(keys))
            return
        for device, text in keys.items():
            self.stdout.write(f"{text}  {device}")


def _secret(path: Path | None) -> str:
    """
    Return what the file, or standard input, holds.

    Raises: OSError, ValueError.
    """
    text = path.read_text(encoding="utf-8") if path else sys.stdin.read()
    if not text.strip():
        raise ValueError("The secret is empty.")
    return text.strip()
