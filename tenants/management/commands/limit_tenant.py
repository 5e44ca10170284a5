"""`manage.py limit_tenant`: how many callbacks a second a utility may post."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants.actors import operator
from tenants.database import acting_for
from tenants.models import Tenant
from tenants.problems import Problem
from tenants.queries import tenant_id_of
from tenants.services import set_rate_limit


class Command(BaseCommand):
    """Set or lift a tenant's rate limit."""

    help = "Limit the callbacks a second of all of a tenant's sources together."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("slug", help="the tenant's short name: acme")
        parser.add_argument(
            "rate_limit_per_s", help="callbacks a second, or `none` to lift the limit"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Set it."""
        given = options["rate_limit_per_s"]
        if given != "none" and not given.isdecimal():
            raise CommandError(f"{given!r} is neither a whole number nor `none`.")
        tenant_id = tenant_id_of(options["slug"])
        if tenant_id is None:
            raise CommandError(f"There is no tenant {options['slug']!r}.")
        with acting_for(tenant_id):
            tenant = Tenant.objects.get(pk=tenant_id)
            try:
                set_rate_limit(
                    tenant=tenant,
                    actor=operator(tenant),
                    rate_limit_per_s=None if given == "none" else int(given),
                )
            except Problem as problem:
                raise CommandError(str(problem)) from problem
        self.stdout.write(f"{tenant.slug}: {given} callbacks a second.")
