"""`manage.py create_tenant`: a new utility, with its first admin and key."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants.problems import Problem
from tenants.services import create_tenant


class Command(BaseCommand):
    """Create a tenant with one admin who can sign in and one admin API key."""

    help = "Create a tenant. Password and key are shown this once."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("slug", help="short name in URLs and messages: acme")
        parser.add_argument("--name", default="", help="full name (default: the slug)")
        parser.add_argument(
            "--timezone", required=True, help="IANA zone: Europe/Brussels"
        )
        parser.add_argument("--currency", required=True, help="ISO 4217 code: EUR")
        parser.add_argument("--admin-email", required=True, help="who signs in first")
        parser.add_argument(
            "--rate-limit-per-s",
            type=int,
            help="callbacks a second over all its sources (default: any)",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Create it and say how to get in."""
        try:
            new = create_tenant(
                slug=options["slug"],
                name=options["name"],
                timezone=options["timezone"],
                currency=options["currency"],
                admin_email=options["admin_email"],
                rate_limit_per_s=options["rate_limit_per_s"],
            )
        except Problem as problem:
            raise CommandError(str(problem)) from problem
        shown = {
            "tenant": new.tenant.slug,
            "api_key": new.api_key,
            "admin_email": new.admin_email,
            "admin_password": new.admin_password,
        }
        if options["json"]:
            self.stdout.write(json.dumps(shown))
            return
        for name, value in shown.items():
            self.stdout.write(f"{name:>15}: {value}")
        self.stdout.write("Keep both; they are not shown again.")
