"""
What a request to an endpoint needs, opened once, and the signed request itself.

Loaded with each claim for its distinct endpoints. What does not open leaves the
destination without a secret: nothing can be signed, so nothing is sent.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from subscriptions.consent import origin
from subscriptions.http import Request
from subscriptions.masking import forms_of
from subscriptions.queries.signing_keys import private_keys
from subscriptions.sealing import Sealer
from tenants.database import Cursor
from tenants.identifiers import public_id
from tenants.signing import (
    hub_key,
    sign_ed25519,
    sign_hub,
    sign_standard,
    sign_stripe,
    standard_key,
)
from tenants.vault import SealBroken

log = logging.getLogger(__name__)

JSON = "application/json"


@dataclass(frozen=True)
class Destination:
    """An endpoint as a request sees it."""

    tenant_id: int
    endpoint_id: UUID
    url: str
    api_version: str = ""
    batch_size: int = 1
    #: Signing secrets in force, the newest first; empty: what it needs does not open.
    secrets: tuple[str, ...] = field(default=(), repr=False)
    #: The tenant's Ed25519 keys in force; empty: it wants no `v1a`.
    signing_keys: tuple[bytes, ...] = field(default=(), repr=False)
    #: Whether it wants `Stripe-Signature`.
    has_stripe: bool = False
    #: Custom headers.
    headers: tuple[str, ...] = field(default=(), repr=False)
    certificate: tuple[bytes, bytes] | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    @cached_property
    def standard_keys(self) -> tuple[bytes, ...]:
        """The keys of `v1`."""
        return tuple(standard_key(secret) for secret in self.secrets)

    @cached_property
    def fixed_headers(self) -> tuple[str, ...]:
        """The headers that every request to it has."""
        bearer = (f"Authorization: Bearer {self.token}",) if self.token else ()
        return (f"WebHook-Request-Origin: {origin()}", *self.headers, *bearer)

    @cached_property
    def hidden_forms(self) -> tuple[str, ...]:
        """What an answer that repeats the request is not to be kept with."""
        values = [line.partition(": ")[2] for line in self.headers]
        return forms_of([*values, self.token] if self.token else values)


class _Row(NamedTuple):
    """What the database has of it."""

    tenant_id: int
    endpoint_id: UUID
    url: str
    api_version: str
    batch_size: int
    extra_signatures: tuple[str, ...]
    sealed_headers: bytes
    sealed_certificate: bytes
    sealed_token: bytes
    sealed_secrets: tuple[bytes, ...]


def load(
    cursor: Cursor, endpoint_ids: Collection[UUID], *, is_proposed: bool = False
) -> dict[UUID, Destination]:
    """
    Return the destinations of these endpoints.

    `is_proposed`: at the URL that is to take the place of the one in force, if any.
    """
    rows = _rows(cursor, endpoint_ids, is_proposed=is_proposed) if endpoint_ids else []
    wanting = {row.tenant_id for row in rows if "v1a" in row.extra_signatures}
    keys = private_keys(cursor, wanting) if wanting else {}
    found = {}
    for row in rows:
        is_wanting = "v1a" in row.extra_signatures
        tenant_keys = keys.get(row.tenant_id, ()) if is_wanting else ()
        found[row.endpoint_id] = _destination(row, tenant_keys)
    return found


def _rows(
    cursor: Cursor, endpoint_ids: Collection[UUID], *, is_proposed: bool
) -> list[_Row]:
    cursor.execute(
        """SELECT e.tenant_id, e.id,
            CASE WHEN %s THEN coalesce(nullif(e.proposed_url, ''), e.url)
                ELSE e.url END,
            e.api_version, e.batch_size, e.extra_signatures, e.sealed_headers,
            e.sealed_certificate, e.sealed_oauth2_token, ARRAY(
                SELECT s.sealed FROM subscriptions_endpointsecret s
                WHERE s.endpoint_id = e.id
                    AND (s.expires_at IS NULL OR s.expires_at > now())
                ORDER BY s.id DESC)
        FROM subscriptions_endpoint e WHERE e.id = ANY(%s::uuid[])""",
        [is_proposed, list(endpoint_ids)],
    )
    return [_Row(*map(_plain, row)) for row in cursor.fetchall()]


def _plain(value: Any) -> Any:
    """Return the value as one that can be looked up by."""
    if isinstance(value, list):
        return tuple(map(_plain, value))
    return bytes(value) if isinstance(value, memoryview) else value


@lru_cache(maxsize=4096)
def _destination(row: _Row, signing_keys: tuple[bytes, ...]) -> Destination:
    sealer = Sealer(row.tenant_id, row.endpoint_id)
    plain = Destination(
        row.tenant_id, row.endpoint_id, row.url, row.api_version, row.batch_size
    )
    if "v1a" in row.extra_signatures and not signing_keys:
        log.warning("%s: no key for v1a opens.", public_id("ep", row.endpoint_id))
        return plain
    try:
        headers = sealer.open_headers(row.sealed_headers)
        return replace(
            plain,
            secrets=tuple(map(sealer.open_secret, row.sealed_secrets)),
            signing_keys=signing_keys,
            has_stripe="stripe" in row.extra_signatures,
            headers=tuple(f"{name}: {value}" for name, value in headers.items()),
            certificate=sealer.open_certificate(row.sealed_certificate),
            token=sealer.open_oauth2_token(row.sealed_token) or None,
        )
    except SealBroken as error:
        log.warning("%s cannot be used: %s", public_id("ep", row.endpoint_id), error)
        return plain


def signed_request(
    destination: Destination,
    message_id: str,
    timestamp_s: int,
    body: bytes,
    content_type: str = JSON,
) -> Request:
    """Return the signed request of one attempt; the destination has a secret."""
    signatures = [
        sign_standard(key, message_id, timestamp_s, body)
        for key in destination.standard_keys
    ]
    signatures += [
        sign_ed25519(key, message_id, timestamp_s, body)
        for key in destination.signing_keys
    ]
    newest, *older = destination.secrets
    headers = (
        f"Content-Type: {content_type}",
        f"webhook-id: {message_id}",
        f"webhook-timestamp: {timestamp_s}",
        f"webhook-signature: {' '.join(signatures)}",
        f"X-Hub-Signature-256: {sign_hub(hub_key(newest), body)}",
        *destination.fixed_headers,
    )
    if destination.has_stripe:
        stripe = sign_stripe(newest, timestamp_s, body, *older)
        headers = (*headers, f"Stripe-Signature: {stripe}")
    return Request(
        destination.url,
        headers=headers,
        body=body,
        certificate=destination.certificate,
    )


def plain_request(
    destination: Destination, *, method: str, url: str = "", headers: Sequence[str] = ()
) -> Request:
    """Return an unsigned request with the destination's credentials: a handshake."""
    return Request(
        url or destination.url,
        method=method,
        headers=(*destination.fixed_headers, *headers),
        certificate=destination.certificate,
    )
