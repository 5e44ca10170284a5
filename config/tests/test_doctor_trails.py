"""The doctor's look at the audit trails."""

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.test import override_settings

from config.doctor import trails
from config.doctor.database import connection
from config.doctor.findings import Level
from tenants.audit_seals import SETTLED, accept_trail, seal_trail
from tenants.database import acting_for
from tenants.models import AuditEntry, Tenant
from tenants.services import NewTenant

NOW = datetime.now(tz=UTC)


def unsealed(tenant: Tenant) -> int:
    with connection(settings.APP_ROLE) as lane:
        return trails.count_unsealed(lane, tenant.pk)


def write_old(tenant: Tenant) -> None:
    with acting_for(tenant):
        AuditEntry.objects.create(
            tenant=tenant, at=NOW - timedelta(days=3), actor="x", action="a.b"
        )


def test_an_old_entry_without_a_seal_is_counted_until_it_is_accepted(
    tenant: Tenant, stranger: NewTenant
) -> None:
    assert unsealed(tenant) == 0, "what is new may wait for its seal"
    # By a seal of old entries alone, then by one behind a seal of new ones.
    for _ in range(2):
        write_old(tenant)
        assert (unsealed(tenant), unsealed(stranger.tenant)) == (1, 0)
        assert accept_trail(tenant, now=NOW) == 1
        assert unsealed(tenant) == 0
        assert seal_trail(tenant.pk, now=datetime.now(tz=UTC) + 2 * SETTLED) > 0
        assert unsealed(tenant) == 0


def test_a_trail_that_does_not_fit_its_seals_is_a_failure() -> None:
    assert trails.judge_trails({"north": 0}).level == Level.OK
    # Below 0: entries that were sealed are gone.
    found = trails.judge_trails({"north": 0, "south": 2, "east": -1})
    assert (found.level, found.code) == (Level.FAIL, "audit.sealed")
    assert "2 of 3" in found.seen
    assert found.seen.endswith("east, south")


def test_every_trail_is_looked_at_and_none_without_a_database() -> None:
    (found,) = trails.check_trails()
    assert "trails" in found.seen
    with override_settings(DATABASE_URL=""):
        assert trails.check_trails() == []
