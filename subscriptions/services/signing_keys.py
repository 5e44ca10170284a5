"""
A tenant's Ed25519 keys: made when first needed, rotated with an overlap.

Every key in force signs, so that a receiver which knows the old public key or the new
one finds its signature. Source: docs/explanation/delivery.md
"""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models.functions import Least

from subscriptions.models import SigningKey
from subscriptions.queries.signing_keys import key_context, thumbprint
from tenants.actors import Actor, platform
from tenants.models import Tenant
from tenants.problems import Conflict, Problem
from tenants.services import record_audit
from tenants.signing import (
    ed25519_public,
    new_ed25519_key,
    public_text,
)
from tenants.vault import seal

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
