"""What requests to an endpoint carry to be let in: judged, sealed, never shown."""

from collections.abc import Callable
from typing import Any

from django.db.models.functions import Now
from django.utils import timezone

from subscriptions.credentials import (
    CredentialsInvalid,
    checked_certificate,
    checked_headers,
    checked_oauth2,
)
from subscriptions.models import Endpoint
from subscriptions.sealing import Sealer
from tenants.doorbell import ring_after_commit
from tenants.models import Tenant

Columns = dict[str, Any]

_NO_OAUTH2: Columns = {
    "oauth2_token_url": "",
    "oauth2_client_id": "",
    "oauth2_scope": "",
    "sealed_oauth2_secret": b"",
    "sealed_oauth2_token": b"",
    "oauth2_expires_at": None,
    "oauth2_due_at": None,
    "oauth2_asked_at": None,
    "oauth2_step": 0,
    "oauth2_error": "",
}


def _sealer(endpoint: Endpoint) -> Sealer:
    return Sealer(endpoint.tenant_id, endpoint.pk)


def _headers(tenant: Tenant, endpoint: Endpoint, wanted: Any) -> Columns:
    headers = checked_headers({} if wanted is None else wanted)
    return {
        "header_names": list(headers),
        "sealed_headers": _sealer(endpoint).headers(headers),
    }


def _client_certificate(tenant: Tenant, endpoint: Endpoint, wanted: Any) -> Columns:
    if wanted is None:
        return {
            "sealed_certificate": b"",
            "certificate_subject": "",
            "certificate_expires_at": None,
        }
    found = checked_certificate(wanted, now=timezone.now())
    return {
        "sealed_certificate": _sealer(endpoint).certificate(
            found.certificate, found.key
        ),
        "certificate_subject": found.subject,
        "certificate_expires_at": found.expires_at,
    }


def _oauth2(tenant: Tenant, endpoint: Endpoint, wanted: Any) -> Columns:
    if wanted is None:
        return dict(_NO_OAUTH2)
    client = checked_oauth2(wanted, is_secret_kept=_is_same_client(endpoint, wanted))
    ring_after_commit("subscriptions.fetch_tokens")
    sealed = endpoint.sealed_oauth2_secret
    if client.client_secret:
        sealed = _sealer(endpoint).oauth2_secret(client.client_secret)
    return {
        **_NO_OAUTH2,
        "oauth2_token_url": client.token_url,
        "oauth2_client_id": client.client_id,
        "oauth2_scope": client.scope,
        "sealed_oauth2_secret": sealed,
        "oauth2_due_at": Now(),
    }


def _is_same_client(endpoint: Endpoint, wanted: Any) -> bool:
    """Tell whether the kept secret would go where it has gone before."""
    return (
        isinstance(wanted, dict)
        and bool(endpoint.oauth2_token_url)
        and (
            wanted.get("token_url"),
            wanted.get("client_id"),
        )
        == (endpoint.oauth2_token_url, endpoint.oauth2_client_id)
    )


def check_together(endpoint: Endpoint) -> None:
    """
    Refuse what no request can carry at once.

    Raises: CredentialsInvalid.
    """
    names = {name.lower() for name in endpoint.header_names}
    if endpoint.oauth2_token_url and "authorization" in names:
        raise CredentialsInvalid(
            "headers: Authorization may not be set: OAuth 2 sets it."
        )


CREDENTIALS: dict[str, Callable[[Tenant, Endpoint, Any], Columns]] = {
    "client_certificate": _client_certificate,
    "oauth2": _oauth2,
    "headers": _headers,
}
