"""`manage.py create_tenant`."""

import json
from io import StringIO
from uuid import uuid4

import pytest
from django.contrib.auth import authenticate
from django.core.management import CommandError, call_command

from tenants.database import acting_for
from tenants.models import ApiKey, AuditEntry, Role
from tenants.queries import identity_of_key, identity_of_user


def create(slug: str, **options: str) -> str:
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
