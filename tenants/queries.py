"""Finding out who asks, before any tenant is known."""

import hashlib
from dataclasses import dataclass

from django.db import connection

from tenants.database import pipeline
from tenants.models import Membership, Role


@dataclass(frozen=True)
class Identity:
    """The tenant and role that a person or a key stands for."""

    tenant_id: int
    role: Role
    name: str


def key_digest(token: str) -> bytes:
    """Return what is stored of an API key."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def identity_of_key(token: str) -> Identity | None:
    """Return whom the key stands for; None: nobody, or it was revoked."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tenant_id, role, name FROM tenants_identify_key(%s)",
            [key_digest(token)],
        )
        row = cursor.fetchone()
    return Identity(row[0], Role(row[1]), f"key {row[2]}") if row else None


def tenant_id_of(slug: str) -> int | None:
    """Return the id of the tenant of this slug, for the operator; None: none has it."""
    with pipeline() as lane:
        row = lane.execute(
            "SELECT id FROM tenants_tenant WHERE slug = %s", [slug]
        ).fetchone()
    return row[0] if row else None


def identity_of_user(user_id: int, email: str) -> Identity | None:
    """Return where the person works; None: nowhere."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tenant_id, role FROM tenants_identify_user(%s)", [user_id]
        )
        row = cursor.fetchone()
    return Identity(row[0], Role(row[1]), email) if row else None


def admin_addresses(tenant_id: int) -> list[str]:
    """Return the e-mail addresses of the tenant's admins who may sign in."""
    admins = Membership.objects.filter(
        tenant_id=tenant_id, role=Role.ADMIN, user__is_active=True
    )
    return list(admins.order_by("user__email").values_list("user__email", flat=True))
