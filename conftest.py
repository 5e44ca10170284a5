"""Fixtures that every app's tests share: tenants, and the people around them."""

from collections.abc import Generator
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db import connections
from django.test import override_settings
from hypothesis import HealthCheck, settings
from pytest_django import DjangoDbBlocker

from subscriptions.events import Event
from subscriptions.services import publishing
from tenants.actors import Actor, operator
from tenants.models import Tenant
from tenants.services import NewTenant, create_tenant
from tests.schemas import check_told

# Examples are judged by what they show, not by how long a busy machine takes over them.
settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")


class QuickHasher(PBKDF2PasswordHasher):
    """The product's own hasher with fewer rounds: what it writes, the console reads."""

    iterations = 1_000


@pytest.fixture(scope="session", autouse=True)
def _database(django_db_blocker: DjangoDbBlocker) -> Generator[None, Any, None]:
    """Let every test use the run's own servers; nothing is mocked, nothing cleaned."""
    with (
        django_db_blocker.unblock(),
        override_settings(PASSWORD_HASHERS=["conftest.QuickHasher"]),
    ):
        yield
        connections.close_all()


@pytest.fixture(scope="session", autouse=True)
def _told_as_catalogued() -> Generator[None, Any, None]:
    """Compare what the platform tells in any test with the catalogue's schemas."""
    check_types = publishing._check_types

    def check(events: list[Event]) -> None:
        check_types(events)
        check_told(events)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing, "_check_types", check)
        yield


def make_tenant(timezone: str = "Europe/Brussels", currency: str = "EUR") -> NewTenant:
    """Create a tenant that no other test knows."""
    slug = f"t{uuid4().hex[:12]}"
    return create_tenant(
        slug=slug,
        timezone=timezone,
        currency=currency,
        admin_email=f"admin@{slug}.example",
    )


@pytest.fixture
def new_tenant() -> NewTenant:
    """The owner: a tenant with its first admin and key."""
    return make_tenant()


@pytest.fixture
def tenant(new_tenant: NewTenant) -> Tenant:
    """The owner's tenant."""
    return new_tenant.tenant


@pytest.fixture
def actor(tenant: Tenant) -> Actor:
    """Whoever acts for the owner."""
    return operator(tenant)


@pytest.fixture
def stranger() -> NewTenant:
    """Another tenant, which must see nothing of the first."""
    return make_tenant()
