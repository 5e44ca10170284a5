"""Signing secrets: made, rotated with an overlap, ended."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models.functions import Least

from subscriptions.models import Endpoint, EndpointSecret
from subscriptions.sealing import secret_context
from subscriptions.services.endpoints.rows import locked
from tenants.actors import Actor
from tenants.models import Tenant
from tenants.problems import Conflict, Problem
from tenants.services import record_audit
from tenants.signing import new_secret
from tenants.vault import seal

#: Secrets that sign at once.
SECRET_LIMIT = 10
OVERLAP_DEFAULT_S = 86_400
OVERLAP_LIMIT_S = 604_800


class SecretLimitReached(Conflict):
    """As many secrets sign at once as may."""

    code = "secret_limit_reached"


class OverlapInvalid(Problem):
    """The overlap is negative or longer than a week."""

    code = "overlap_invalid"


def add_secret(endpoint: Endpoint) -> str:
    """Give the endpoint a new secret, and return it."""
    secret = new_secret()
    context = secret_context(endpoint.tenant_id, endpoint.pk)
    EndpointSecret.objects.create(
        tenant_id=endpoint.tenant_id,
        endpoint=endpoint,
        sealed=seal(secret.encode(), context=context),
    )
    return secret


@transaction.atomic
def rotate_secret(
    *,
    tenant: Tenant,
    actor: Actor,
    endpoint: Endpoint,
    now: datetime,
    overlap_s: int = OVERLAP_DEFAULT_S,
) -> str:
    """
    Return a new secret, shown this once; the old ones sign too until the overlap ends.

    Raises: OverlapInvalid, SecretLimitReached, EndpointUnknown.
    """
    if not 0 <= overlap_s <= OVERLAP_LIMIT_S:
        raise OverlapInvalid(f"The overlap is from 0 to {OVERLAP_LIMIT_S} seconds.")
    current = locked(tenant, endpoint)
    secrets = EndpointSecret.objects.filter(tenant=tenant, endpoint=current)
    secrets.filter(expires_at__lte=now).delete()
    secrets.update(expires_at=Least("expires_at", now + timedelta(seconds=overlap_s)))
    if secrets.filter(expires_at__gt=now).count() >= SECRET_LIMIT:
        raise SecretLimitReached(
            f"{SECRET_LIMIT} secrets sign at once already. Rotate with overlap_s 0 to "
            "end the old ones."
        )
    secret = add_secret(current)
    record_audit(
        actor=actor,
        action="endpoint.secret_rotated",
        subject=current.public_id,
        detail={"overlap_s": overlap_s},
    )
    return secret
