"""`manage.py create_tenant`."""

import json
from io import StringIO
from uuid import uuid4

import pytest
from django.contrib.auth import authenticate
from django.core.management import CommandError, call_command

from tenants.database import acting_for
from tenants.models import ApiKey, AuditEntry, Role, Tenant
from tenants.queries import identity_of_key, identity_of_user, tenant_id_of


def create(slug: str, **options: str | int) -> str:
    output = StringIO()
    arguments = {
        "timezone": "Europe/Brussels",
        "currency": "EUR",
        "admin_email": f"admin@{slug}.example",
        **options,
    }
    call_command("create_tenant", slug, json=True, stdout=output, **arguments)
    return output.getvalue()


def test_it_prints_one_object_with_which_to_get_in() -> None:
    slug = f"t{uuid4().hex[:12]}"
    shown = json.loads(create(slug))
    assert set(shown) == {"tenant", "api_key", "admin_email", "admin_password"}
    identity = identity_of_key(shown["api_key"])
    assert identity is not None
    assert identity.role is Role.ADMIN
    user = authenticate(username=shown["admin_email"], password=shown["admin_password"])
    assert user is not None
    at_work = identity_of_user(user.pk, shown["admin_email"])
    assert at_work is not None
    assert at_work.tenant_id == identity.tenant_id


def test_the_key_is_stored_hashed_and_its_making_audited() -> None:
    shown = json.loads(create(f"t{uuid4().hex[:12]}"))
    identity = identity_of_key(shown["api_key"])
    assert identity is not None
    with acting_for(identity.tenant_id):
        key = ApiKey.objects.get()
        actions = set(AuditEntry.objects.values_list("action", flat=True))
        details = str(list(AuditEntry.objects.values()))
    assert shown["api_key"].encode() not in bytes(key.digest)
    assert actions == {"tenant.created", "person.added", "api_key.created"}
    assert shown["api_key"] not in details
    assert shown["admin_password"] not in details


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timezone": "Mars/Olympus"}, "IANA"),
        ({"timezone": "../etc/passwd"}, "IANA"),
        ({"currency": "EURO"}, "ISO 4217"),
        ({"admin_email": "nobody"}, "e-mail"),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        create(f"t{uuid4().hex[:12]}", **options)


def test_a_slug_is_taken_once() -> None:
    slug = f"t{uuid4().hex[:12]}"
    create(slug)
    with pytest.raises(CommandError, match="already"):
        create(slug, admin_email=f"other@{slug}.example")


def test_a_slug_with_spaces_is_refused() -> None:
    with pytest.raises(CommandError, match="slug"):
        create("two words")


def limit_of(slug: str) -> int | None:
    tenant_id = tenant_id_of(slug)
    assert tenant_id is not None
    with acting_for(tenant_id):
        return Tenant.objects.get(pk=tenant_id).rate_limit_per_s


def test_a_tenants_rate_is_set_changed_and_lifted() -> None:
    slug = f"t{uuid4().hex[:12]}"
    create(slug, rate_limit_per_s=500)
    assert limit_of(slug) == 500
    for given, limit in (("7", 7), ("none", None)):
        call_command("limit_tenant", slug, given, stdout=StringIO())
        assert limit_of(slug) == limit
    tenant_id = tenant_id_of(slug)
    assert tenant_id is not None
    with acting_for(tenant_id):
        trail = AuditEntry.objects.filter(action="tenant.rate_limit_set").order_by("id")
        limits = [entry.detail["rate_limit_per_s"] for entry in trail]
    assert limits == [500, 7, None]


@pytest.mark.parametrize("given", ["0", "1000001", "-1", "many", "1.5"])
def test_a_rate_that_is_none_is_refused(given: str) -> None:
    slug = f"t{uuid4().hex[:12]}"
    create(slug)
    with pytest.raises(CommandError):
        call_command("limit_tenant", slug, "--", given)
    assert limit_of(slug) is None


def test_a_tenant_that_is_not_there_has_no_rate() -> None:
    with pytest.raises(CommandError, match="no tenant"):
        call_command("limit_tenant", "nobody-of-this-name", "5")
