"""
A tenant's Ed25519 keys in force: to sign with, to publish, and to look at.

Source: docs/explanation/delivery.md
"""

import base64
import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from django.db.models import Q, QuerySet

from subscriptions.models import SigningKey
from tenants.database import Cursor, pipeline
from tenants.models import Tenant
from tenants.signing import parse_public
from tenants.vault import SealBroken, unseal

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublicKey:
    """A key as receivers need it."""

    #: RFC 7638 thumbprint: the same wherever it is computed.
    id: str
    #: `whpk_` and base64.
    public: str
    #: The same 32 bytes as a JWK's `x` has them.
    x: str
    created_at: datetime
    #: Until when it signs; None: it is the newest.
    expires_at: datetime | None


def key_context(tenant_id: int, public: str) -> str:
    """Return what a private key is sealed for."""
    return f"signing-key:{tenant_id}:{public}"


def keys_in_force(tenant: Tenant, now: datetime) -> QuerySet[SigningKey]:
    """Return the keys that sign, the newest first."""
    mine = SigningKey.objects.filter(tenant=tenant)
    return mine.filter(Q(expires_at=None) | Q(expires_at__gt=now)).order_by("-pk")


def private_keys(
    cursor: Cursor, tenant_ids: Collection[int]
) -> dict[int, tuple[bytes, ...]]:
    """Return each tenant's keys in force, the newest first; without: it has none."""
    cursor.execute(
        """SELECT tenant_id, public, sealed FROM subscriptions_signingkey
        WHERE tenant_id = ANY(%s) AND (expires_at IS NULL OR expires_at > now())
        ORDER BY tenant_id, id DESC""",
        [list(tenant_ids)],
    )
    found: defaultdict[int, tuple[bytes, ...]] = defaultdict(tuple)
    for tenant_id, public, sealed in cursor.fetchall():
        opened = _opened(bytes(sealed), key_context(tenant_id, public))
        found[tenant_id] += (opened,) if opened else ()
    return dict(found)


@lru_cache(maxsize=1024)
def _opened(sealed: bytes, context: str) -> bytes:
    """Return the private key; empty: it does not open."""
    try:
        return unseal(sealed, context=context)
    except SealBroken:
        log.exception("A signing key does not open: %s", context)
        return b""


def public_keys(tenant_slug: str) -> list[PublicKey]:
    """Return a tenant's keys in force, the newest first; empty: none, or no tenant."""
    with pipeline() as lane:
        rows = lane.execute(
            """SELECT k.public, k.created_at, k.expires_at
            FROM subscriptions_signingkey k JOIN tenants_tenant t ON t.id = k.tenant_id
            WHERE t.slug = %s AND (k.expires_at IS NULL OR k.expires_at > now())
            ORDER BY k.id DESC""",
            [tenant_slug],
        ).fetchall()
    return [
        PublicKey(thumbprint(public), public, _x(public), created_at, expires_at)
        for public, created_at, expires_at in rows
    ]


def thumbprint(public: str) -> str:
    """Return a key's id: the hash of what makes it, as RFC 7638 has it."""
    # Its members in the order of their names, and no space between.
    members = {"crv": "Ed25519", "kty": "OKP", "x": _x(public)}
    digest = hashlib.sha256(json.dumps(members, separators=(",", ":")).encode())
    return _base64url(digest.digest())


def _x(public: str) -> str:
    return _base64url(parse_public(public))


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
