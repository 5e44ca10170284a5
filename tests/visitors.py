"""People who open the console's pages in tests."""

from uuid import uuid4

from django.test import Client

from tenants.actors import operator
from tenants.database import acting_for
from tenants.models import Role, Tenant, User
from tenants.services import add_person


def person(tenant: Tenant, role: Role) -> User:
    """Return a new person of the tenant."""
    with acting_for(tenant):
        return add_person(
            tenant=tenant,
            actor=operator(tenant),
            email=f"{role}-{uuid4().hex[:8]}@{tenant.slug}.example",
            password=uuid4().hex,
            role=role,
        )


def visitor(tenant: Tenant, role: Role = Role.ADMIN) -> Client:
    """Return the browser of a new person of the tenant, signed in."""
    browser = Client()
    browser.force_login(person(tenant, role))
    return browser
