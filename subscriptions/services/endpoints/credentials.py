"""What requests to an endpoint carry to be let in: judged, sealed, never shown."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from django.db.models.functions import Now
from django.utils import timezone

from subscriptions.credentials import (
    CredentialsInvalid,
    checked_certificate,
    checked_headers,
    checked_oauth2,
)
from subscriptions.http.addresses import UrlInvalid, parse
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


def check_origin(endpoint: Endpoint, url: str, changes: Mapping[str, Any]) -> None:
    """
    Refuse another origin that would be sent what was sealed for this one.

    The first question to a URL carries it, long before anybody there has consented.
    Raises: CredentialsInvalid.
    """
    if not is_elsewhere(endpoint, url):
        return
    kept = [
        name
        for name, is_set in _sealed(endpoint).items()
        if is_set and not _is_given(changes, name)
    ]
    if kept:
        raise CredentialsInvalid(
            f"url: another scheme, host or port is sent nothing that was sealed for "
            f"this one. With it, give {', '.join(kept)} again (oauth2 with its secret) "
            "or null. In the console: remove it under Credentials, change the URL, "
            "then give it again."
        )


def is_elsewhere(endpoint: Endpoint, url: str) -> bool:
    """Tell whether the URL has another scheme, host or port than the endpoint's."""
    return _origin(url) not in {_origin(endpoint.url), _origin(endpoint.proposed_url)}


def _origin(url: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port; None: none that can be told."""
    with suppress(UrlInvalid):
        target = parse(url)
        return target.scheme, target.host, target.port
    return None


def _sealed(endpoint: Endpoint) -> dict[str, bool]:
    return {
        "headers": bool(endpoint.sealed_headers),
        "client_certificate": bool(endpoint.sealed_certificate),
        "oauth2": bool(endpoint.oauth2_token_url),
    }


def _is_given(changes: Mapping[str, Any], name: str) -> bool:
    """Tell whether a change leaves nothing of what was sealed under the name."""
    if name not in changes:
        return False
    wanted = changes[name]
    # Without its secret, the one that is kept would get the new URL its tokens.
    is_whole = not isinstance(wanted, Mapping) or bool(wanted.get("client_secret"))
    return name != "oauth2" or is_whole


CREDENTIALS: dict[str, Callable[[Tenant, Endpoint, Any], Columns]] = {
    "client_certificate": _client_certificate,
    "oauth2": _oauth2,
    "headers": _headers,
}
