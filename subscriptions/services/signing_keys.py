"""
A tenant's Ed25519 keys: made when first needed, rotated with an overlap, published.

Every key in force signs, so that a receiver which knows the old public key or the new
one finds its signature. Source: docs/explanation/delivery.md
"""

import base64
import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from django.db import transaction
from django.db.models.functions import Least

from subscriptions.models import SigningKey
from tenants.actors import Actor, platform
from tenants.database import Cursor, pipeline
from tenants.models import Tenant
from tenants.problems import Conflict, Problem
from tenants.services import record_audit
from tenants.signing import (
    ed25519_public,
    new_ed25519_key,
    parse_public,
    public_text,
)
from tenants.vault import SealBroken, seal, unseal

log = logging.getLogger(__name__)

OVERLAP_DEFAULT_S = 86_400
OVERLAP_LIMIT_S = 604_800
#: Keys that sign at once.
KEY_LIMIT = 10


class SigningKeyLimitReached(Conflict):
    """As many keys sign at once as may."""

    code = "signing_key_limit_reached"


class SigningKeyOverlapInvalid(Problem):
    """The overlap is negative or longer than a week."""

    code = "overlap_invalid"


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


@transaction.atomic
def ensure_key(tenant: Tenant) -> SigningKey:
    """Return the newest key; the first need of one makes it."""
    _lock(tenant)
    found = SigningKey.objects.filter(tenant=tenant, expires_at=None).first()
    return found or _create(platform(tenant), {"overlap_s": 0})


@transaction.atomic
def rotate_key(
    *,
    tenant: Tenant,
    actor: Actor,
    now: datetime,
    overlap_s: int = OVERLAP_DEFAULT_S,
) -> SigningKey:
    """
    Return a new key; the old ones sign too until the overlap ends.

    Raises: SigningKeyOverlapInvalid, SigningKeyLimitReached.
    """
    if not 0 <= overlap_s <= OVERLAP_LIMIT_S:
        raise SigningKeyOverlapInvalid(
            f"The overlap is from 0 to {OVERLAP_LIMIT_S} seconds."
        )
    _lock(tenant)
    keys = SigningKey.objects.filter(tenant=tenant)
    ends_at = now + timedelta(seconds=overlap_s)
    keys.update(expires_at=Least("expires_at", ends_at))
    keys.filter(expires_at__lte=now).delete()
    if keys.count() >= KEY_LIMIT:
        raise SigningKeyLimitReached(
            f"{KEY_LIMIT} keys sign at once already. Rotate with overlap_s 0 to end "
            "the old ones."
        )
    return _create(actor, {"overlap_s": overlap_s})


def _lock(tenant: Tenant) -> None:
    """Have others wait who make a key of the tenant's, and nobody else."""
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)


def _create(actor: Actor, detail: dict[str, int]) -> SigningKey:
    private = new_ed25519_key()
    public = public_text(ed25519_public(private))
    key = SigningKey.objects.create(
        tenant=actor.tenant,
        sealed=seal(private, context=key_context(actor.tenant.pk, public)),
        public=public,
    )
    record_audit(
        actor=actor,
        action="signing_key.created",
        subject=public,
        detail={"id": thumbprint(public), **detail},
    )
    return key


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
