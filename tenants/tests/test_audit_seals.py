"""Who changes the audit trail behind the platform's back is found out."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import ProgrammingError, connection, connections, transaction
from django.test import override_settings

from tenants import audit_seals
from tenants.actors import Actor
from tenants.audit_seals import (
    SETTLED,
    UNSEALED,
    _seal_stretch,
    accept_trail,
    seal_trail,
    verify_trail,
)
from tenants.database import acting_for
from tenants.models import AuditEntry, AuditSeal, Tenant
from tenants.services import record_audit

LATER = SETTLED + timedelta(minutes=1)
MUCH_LATER = LATER + timedelta(days=2)
OTHER = "9:" + "QkJC" * 10 + "QkI="


def now() -> datetime:
    return datetime.now(tz=UTC)


@pytest.fixture
def entries(tenant: Tenant, actor: Actor) -> list[AuditEntry]:
    """A trail of some entries, sealed in two stretches."""
    for number in range(2):
        with acting_for(tenant):
            for name in ("first", "second"):
                record_audit(
                    actor=actor,
                    action="thing.done",
                    subject=f"{name} {number}",
                    detail={"é": [1, None, "x"]},
                )
        assert seal_trail(tenant.pk, now=now() + LATER)
    with acting_for(tenant):
        return list(AuditEntry.objects.filter(tenant=tenant).order_by("at", "pk"))


@contextmanager
def as_superuser(tenant: Tenant) -> Generator[Any]:
    """Lift what guards the trail, as only its owner can, and put it back."""
    with transaction.atomic(using="owner"), connections["owner"].cursor() as cursor:
        for table in ("tenants_auditentry", "tenants_auditseal"):
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            cursor.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        yield cursor
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table in ("tenants_auditentry", "tenants_auditseal"):
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
            cursor.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def flaws(tenant: Tenant) -> dict[str, str]:
    found = verify_trail(tenant.pk, now=now() + MUCH_LATER)
    return {flaw.what: flaw.words for flaw in found}


def test_a_trail_that_nobody_touched_is_whole(
    tenant: Tenant, entries: list[AuditEntry]
) -> None:
    assert len(entries) >= 4
    assert flaws(tenant) == {}
    assert seal_trail(tenant.pk, now=now() + LATER) == 0


def test_an_entry_is_sealed_once_its_transaction_must_be_over(
    tenant: Tenant, actor: Actor
) -> None:
    with acting_for(tenant):
        record_audit(actor=actor, action="a.b", subject="c")
    assert seal_trail(tenant.pk, now=now()) == 0
    assert verify_trail(tenant.pk, now=now()) == []
    assert seal_trail(tenant.pk, now=now() + LATER) >= 1


@pytest.mark.parametrize(
    "change",
    [
        "actor = 'somebody else'",
        "detail = '{}'",
        "at = at - interval '1 second'",
        "subject = 'other'",
    ],
)
def test_a_changed_entry_is_named(
    tenant: Tenant, entries: list[AuditEntry], change: str
) -> None:
    victim = entries[2].pk
    statement = f"UPDATE tenants_auditentry SET {change} WHERE id = %s"  # noqa: S608 (own)
    with as_superuser(tenant) as cursor:
        cursor.execute(statement, [victim])
        assert cursor.rowcount == 1
    assert flaws(tenant) == {str(victim): "was changed"}


def test_a_missing_entry_is_named(tenant: Tenant, entries: list[AuditEntry]) -> None:
    victim = entries[0].pk
    with as_superuser(tenant) as cursor:
        cursor.execute("DELETE FROM tenants_auditentry WHERE id = %s", [victim])
    assert flaws(tenant) == {str(victim): "is missing"}


def test_an_entry_put_in_later_is_named(
    tenant: Tenant, entries: list[AuditEntry]
) -> None:
    with as_superuser(tenant) as cursor:
        cursor.execute(
            """INSERT INTO tenants_auditentry
                (id, tenant_id, at, actor, action, subject, detail)
            SELECT gen_random_uuid(), tenant_id, at - interval '3 days', actor, action,
                subject, detail FROM tenants_auditentry WHERE id = %s RETURNING id""",
            [entries[0].pk],
        )
        (added,) = cursor.fetchone()
    assert flaws(tenant) == {str(added): UNSEALED}


def test_a_seal_cannot_be_made_to_fit_without_the_key(
    tenant: Tenant, entries: list[AuditEntry]
) -> None:
    with as_superuser(tenant) as cursor:
        cursor.execute(
            """UPDATE tenants_auditseal SET entries = substr(entries, 33)
            WHERE tenant_id = %s AND sequence = 1""",
            [tenant.pk],
        )
    assert flaws(tenant)["seal 1"] == "was changed, or one before it"


def test_a_seal_that_was_taken_out_is_missed(
    tenant: Tenant, entries: list[AuditEntry]
) -> None:
    with as_superuser(tenant) as cursor:
        cursor.execute(
            "DELETE FROM tenants_auditseal WHERE tenant_id = %s AND sequence = 1",
            [tenant.pk],
        )
    assert flaws(tenant)["seal 1"] == "is missing"


def test_a_trail_without_any_seal_is_not_taken_for_whole(
    tenant: Tenant, entries: list[AuditEntry]
) -> None:
    with as_superuser(tenant) as cursor:
        cursor.execute(
            "DELETE FROM tenants_auditseal WHERE tenant_id = %s", [tenant.pk]
        )
    assert flaws(tenant) == {"seal 1": "is missing"}


def test_a_stretch_looks_no_further_back_than_the_one_before(
    tenant: Tenant, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_seals, "STRETCH", 2)
    with acting_for(tenant):
        # At one and the same moment: that of the transaction.
        for number in range(5):
            record_audit(actor=actor, action="a.b", subject=f"{number}")
    for number in range(6):
        with acting_for(tenant):
            record_audit(actor=actor, action="a.b", subject=f"{number}")
    with acting_for(tenant):
        at = AuditEntry.objects.filter(tenant=tenant).values_list("at", flat=True)
        moments = sorted(at)
    asked: list[datetime] = []

    def seal_stretch(tenant_id: int, since: datetime, before: datetime) -> Any:
        asked.append(since)
        return real(tenant_id, since, before)

    real = _seal_stretch
    monkeypatch.setattr(audit_seals, "_seal_stretch", seal_stretch)
    assert seal_trail(tenant.pk, now=now() + LATER) == len(moments)
    assert asked[1:] == moments[1 : len(asked) * 2 - 2 : 2]
    assert flaws(tenant) == {}


@pytest.mark.parametrize(
    ("taken_out", "is_named"), [("sequence = 2", 2), ("true", "all")]
)
def test_seals_that_were_taken_out_are_not_made_anew(
    tenant: Tenant,
    actor: Actor,
    entries: list[AuditEntry],
    taken_out: str,
    is_named: Any,
) -> None:
    where = f"FROM tenants_auditseal WHERE tenant_id = %s AND {taken_out}"
    with as_superuser(tenant) as cursor:
        cursor.execute(f"DELETE {where}", [tenant.pk])
        cursor.execute(
            "UPDATE tenants_auditentry SET actor = 'x' WHERE id = %s", [entries[-1].pk]
        )
    # The worker comes two days later, and has newer entries to seal.
    assert seal_trail(tenant.pk, now=now() + MUCH_LATER) == 0
    with acting_for(tenant):
        record_audit(actor=actor, action="a.b", subject="newer")
        newer = AuditEntry.objects.get(tenant=tenant, subject="newer")
    with as_superuser(tenant) as cursor:
        cursor.execute(
            "UPDATE tenants_auditentry SET at = at + interval '2 days' WHERE id = %s",
            [newer.pk],
        )
    assert seal_trail(tenant.pk, now=now() + MUCH_LATER) == 1
    named = entries if is_named == "all" else entries[-is_named:]
    assert flaws(tenant) == {str(one.pk): UNSEALED for one in named}


def test_what_was_never_sealed_is_accepted_by_an_operator_alone(
    tenant: Tenant, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenants.audit_seals.STRETCH", 2)
    with acting_for(tenant):
        record_audit(actor=actor, action="a.b", subject="c")
    with as_superuser(tenant) as cursor:
        cursor.execute(
            """UPDATE tenants_auditentry SET at = at - interval '3 days'
            WHERE tenant_id = %s""",
            [tenant.pk],
        )
        count = cursor.rowcount
    errors, output = StringIO(), StringIO()
    with pytest.raises(CommandError, match="not sealed in time"):
        call_command("verify_audit", tenant.slug, stderr=errors)
    assert "seal 1 is missing" in errors.getvalue()
    call_command("verify_audit", tenant.slug, "--accept", stdout=output)
    assert f"{count} old entries are sealed as they are" in output.getvalue()
    assert "as sealed" in output.getvalue()
    with acting_for(tenant):
        said = AuditEntry.objects.get(tenant=tenant, action="audit.accepted")
        assert AuditSeal.objects.filter(tenant=tenant).count() == (count + 1) // 2
    assert said.detail["entries"] == count
    assert accept_trail(tenant, now=now()) == 0
    call_command("verify_audit", tenant.slug, stdout=output)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM tenants_auditseal",
        "TRUNCATE tenants_auditseal",
        "UPDATE tenants_auditseal SET entries = ''",
    ],
)
def test_the_application_may_not_touch_a_seal(
    tenant: Tenant, entries: list[AuditEntry], statement: str
) -> None:
    with (
        pytest.raises(ProgrammingError),
        acting_for(tenant),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)


def test_a_seal_made_with_another_key_does_not_count(
    tenant: Tenant, entries: list[AuditEntry]
) -> None:
    with override_settings(ENCRYPTION_KEYS=OTHER):
        assert flaws(tenant)["seal 1"] == "was changed, or one before it"


def test_the_command_names_what_was_changed(
    tenant: Tenant, entries: list[AuditEntry]
) -> None:
    output = StringIO()
    call_command("verify_audit", tenant.slug, stdout=output)
    assert "as sealed" in output.getvalue()
    victim = entries[1].pk
    with as_superuser(tenant) as cursor:
        cursor.execute(
            "UPDATE tenants_auditentry SET actor = 'x' WHERE id = %s", [victim]
        )
    errors = StringIO()
    with pytest.raises(CommandError, match="tampered"):
        call_command("verify_audit", tenant.slug, stderr=errors)
    assert f"{victim} was changed" in errors.getvalue()
    with pytest.raises(CommandError, match="no tenant"):
        call_command("verify_audit", "nobody")


def test_another_tenants_seals_are_not_seen(
    tenant: Tenant, entries: list[AuditEntry], stranger: Any
) -> None:
    with acting_for(stranger.tenant):
        assert not AuditSeal.objects.filter(tenant=tenant).exists()
