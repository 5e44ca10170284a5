"""`manage.py doctor`: what is wrong with an installation, and what to do about it."""

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from config.doctor.examination import examine, is_healthy
from config.doctor.findings import Finding, Level

_STYLES = {Level.OK: "SUCCESS", Level.WARN: "WARNING", Level.FAIL: "ERROR"}


class Command(BaseCommand):
    """Examine database, broker, processes, keys and machine."""

    help = (
        "Check an installation, beside a running `up` (found through GRIDHOOK_VAR) or "
        "against DATABASE_URL and BROKER_URL. Exit status 1: something is wrong."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--json", action="store_true", help="one JSON object on standard output"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Report every finding; end with 1 when one of them is a failure."""
        findings = examine()
        healthy = is_healthy(findings)
        if options["json"]:
            report = {"ok": healthy, "checks": [asdict(one) for one in findings]}
            self.stdout.write(json.dumps(report))
        else:
            for finding in findings:
                self._say(finding)
        if not healthy:
            raise SystemExit(1)

    def _say(self, finding: Finding) -> None:
        level = getattr(self.style, _STYLES[finding.level])(f"{finding.level:<4}")
        self.stdout.write(f"{level}  {finding.code:<24}  {finding.seen}")
        if finding.advice and finding.level != Level.OK:
            self.stdout.write(f"{'':32}{finding.advice}")
