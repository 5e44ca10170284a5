"""Starting with keys that do not open what is stored."""

import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings

from ingest.services.sources import create_source
from subscriptions.services.endpoints import create_endpoint
from tenants.actors import Actor
from tenants.database import acting_for
from tenants.models import Tenant

OTHER = "9:" + "QkJC" * 10 + "QkI="


@pytest.fixture(autouse=True)
def _newest_secrets(tenant: Tenant, actor: Actor) -> None:
    """The newest of each kind are what is looked at."""
    with acting_for(tenant):
        create_source(tenant=tenant, actor=actor, name="meters", scheme="hub")
        create_endpoint(
            tenant=tenant, actor=actor, url="https://example.com/", event_types=["*"]
        )


def test_keys_that_open_nothing_are_refused_before_anything_starts() -> None:
    with (
        override_settings(ENCRYPTION_KEYS=OTHER),
        pytest.raises(SystemCheckError) as refusal,
    ):
        call_command("check", databases=["owner"])
    assert "gridhook.E017" in str(refusal.value)
    assert "manage.py reseal" in str(refusal.value)


def test_a_new_key_before_the_old_one_is_not() -> None:
    with override_settings(ENCRYPTION_KEYS=f"{OTHER},{settings.ENCRYPTION_KEYS}"):
        call_command("check", databases=["owner"])
