"""Who does a thing: the name, role and address that the audit trail keeps."""

from dataclasses import dataclass

from django.http import HttpRequest

from tenants.models import Role, Tenant

#: The platform itself, in the audit trail.
PLATFORM = "gridhook"


@dataclass(frozen=True)
class Actor:
    """A person, a key, or the platform itself, acting in one tenant."""

    tenant: Tenant
    name: str
    role: Role
    address: str | None = None
    is_authenticated: bool = True


def operator(tenant: Tenant) -> Actor:
    """Return the actor for work that the machine's operator does by command."""
    return Actor(tenant=tenant, name="operator", role=Role.ADMIN)


def platform(tenant: Tenant) -> Actor:
    """Return the actor for what the platform does by itself."""
    return Actor(tenant=tenant, name=PLATFORM, role=Role.ADMIN)


def actor_of(request: HttpRequest) -> Actor:
    """
    Return who makes the request.

    Raises: PermissionError: nobody that the platform knows.
    """
    actor: Actor | None = getattr(request, "actor", None)
    if actor is None:
        raise PermissionError("The request has no actor.")
    return actor
