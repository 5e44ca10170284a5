"""`manage.py verify_audit`: whether the audit trails are as they were sealed."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from tenants.audit_seals import accept_trail, seal_trail, verify_trail
from tenants.database import acting_for, pipeline
from tenants.models import Tenant


class Command(BaseCommand):
    """Compare every tenant's audit trail with its seals."""

    help = (
        "Seal what is settled of the audit trails, and compare all of them with their "
        "seals. Names each entry that was changed, removed, put in later or never "
        "sealed; exit 1 when there is one."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("slug", nargs="?", help="one tenant's; without: all")
        parser.add_argument(
            "--accept",
            action="store_true",
            help="seal as they are the entries older than a day that no seal has",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Verify, and say what was found."""
        slug = options["slug"]
        with pipeline() as lane:
            rows = lane.execute(
                """SELECT id, slug FROM tenants_tenant
                WHERE %s::text IS NULL OR slug = %s ORDER BY slug""",
                [slug, slug],
            ).fetchall()
        if slug and not rows:
            raise CommandError(f"There is no tenant {slug!r}.")
        if options["accept"]:
            for tenant_id, name in rows:
                self._accept(tenant_id, name)
        flawed = sum(self._verify(*row) for row in rows)
        if flawed:
            raise CommandError(
                f"{flawed} flaws: the audit trail was tampered with, or not sealed in "
                "time (docs/explanation/tenancy.md)."
            )
        self.stdout.write(f"The audit trails of {len(rows)} tenants are as sealed.")

    def _accept(self, tenant_id: int, slug: str) -> None:
        with acting_for(tenant_id):
            tenant = Tenant.objects.get(pk=tenant_id)
        count = accept_trail(tenant, now=timezone.now())
        if count:
            self.stdout.write(f"{slug}: {count} old entries are sealed as they are.")

    def _verify(self, tenant_id: int, slug: str) -> int:
        now = timezone.now()
        flaws = verify_trail(tenant_id, now=now)
        for flaw in flaws:
            self.stderr.write(f"{slug}: {flaw.what} {flaw.words}")
        if not flaws:
            seal_trail(tenant_id, now=now)
        return len(flaws)
