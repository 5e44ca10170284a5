"""What anyone may read without a key: the public keys that messages are signed with."""

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe
from django_ratelimit.core import is_ratelimited

from subscriptions.queries.signing_keys import PublicKey, public_keys
from tenants.callers import caller
from tenants.problems import plain_problem

#: Questions a minute from one address.
RATE = "120/m"
RETRY_AFTER_S = 60
#: How long an answer may be kept: shorter than any overlap that is of use.
MAX_AGE_S = 300
_MEDIA_TYPE = "application/jwk-set+json"


@require_safe
def keys(request: HttpRequest, tenant: str) -> HttpResponse:
    """Show a tenant's public keys; one without any is answered as if it were none."""
    if is_ratelimited(
        request,
        group="well-known-keys",
        key=caller,
        rate=RATE,
        method=["GET", "HEAD"],
        increment=True,
    ):
        refusal = plain_problem(
            status=429, code="rate_limited", title="Too many questions; wait a minute"
        )
        refusal["Retry-After"] = str(RETRY_AFTER_S)
        return refusal
    found = public_keys(tenant)
    if not found:
        return plain_problem(status=404, code="not_found", title="Not found")
    reply = JsonResponse(
        {"keys": [_shown(key) for key in found]}, content_type=_MEDIA_TYPE
    )
    reply["Cache-Control"] = f"public, max-age={MAX_AGE_S}"
    return reply


def _shown(key: PublicKey) -> dict[str, Any]:
    """Return a key for Standard Webhooks' libraries and, in one, as a JWK."""
    return {
        "id": key.id,
        "public": key.public,
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
        "kid": key.id,
        "kty": "OKP",
        "crv": "Ed25519",
        "alg": "EdDSA",
        "use": "sig",
        "x": key.x,
    }
