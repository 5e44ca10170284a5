"""
An endpoint's secrets at rest: what each is bound to, and how it is packed.

A seal opens for one endpoint and one use alone; one that does not open is `SealBroken`
for whoever asked. Openings are remembered by the sealed bytes, which are fresh with
every sealing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from tenants.vault import seal, unseal

#: Each sealed column of an endpoint, and the use that its seal is bound to.
USES = {
    "sealed_headers": "headers",
    "sealed_certificate": "certificate",
    "sealed_oauth2_secret": "oauth2-secret",
    "sealed_oauth2_token": "oauth2-token",
}


@dataclass(frozen=True)
class Sealer:
    """Seals and opens what belongs to one endpoint."""

    tenant_id: int
    endpoint_id: UUID

    def headers(self, headers: Mapping[str, str]) -> bytes:
        """Return custom headers, sealed; empty: there are none."""
        return self._seal("headers", json.dumps(dict(headers))) if headers else b""

    def certificate(self, certificate_pem: str, key_pem: str) -> bytes:
        """Return a client certificate with its key, sealed."""
        return self._seal("certificate", json.dumps([certificate_pem, key_pem]))

    def oauth2_secret(self, secret: str) -> bytes:
        """Return the client's secret for its token server, sealed."""
        return self._seal("oauth2-secret", secret)

    def oauth2_token(self, token: str) -> bytes:
        """Return a bearer token, sealed."""
        return self._seal("oauth2-token", token)

    def open_secret(self, sealed: bytes) -> str:
        """Return a signing secret."""
        return _opened(sealed, secret_context(self.tenant_id, self.endpoint_id))

    def open_headers(self, sealed: bytes) -> dict[str, str]:
        """Return custom headers."""
        found: dict[str, str] = json.loads(self._open("headers", sealed) or "{}")
        return found

    def open_certificate(self, sealed: bytes) -> tuple[bytes, bytes] | None:
        """Return a client certificate and its key, in PEM; None: there is none."""
        if not sealed:
            return None
        certificate, key = json.loads(self._open("certificate", sealed))
        return certificate.encode(), key.encode()

    def open_oauth2_secret(self, sealed: bytes) -> str:
        """Return the client's secret for its token server; empty: there is none."""
        return self._open("oauth2-secret", sealed)

    def open_oauth2_token(self, sealed: bytes) -> str:
        """Return the bearer token; empty: there is none."""
        return self._open("oauth2-token", sealed)

    def _seal(self, use: str, text: str) -> bytes:
        return seal(text.encode(), context=self._context(use))

    def _open(self, use: str, sealed: bytes) -> str:
        return _opened(bytes(sealed), self._context(use)) if sealed else ""

    def _context(self, use: str) -> str:
        return f"{secret_context(self.tenant_id, self.endpoint_id)}:{use}"


def secret_context(tenant_id: int, endpoint_id: UUID) -> str:
    """Return what a signing secret of the endpoint is bound to."""
    return f"endpoint:{tenant_id}:{endpoint_id}"


@lru_cache(maxsize=4096)
def _opened(sealed: bytes, context: str) -> str:
    return unseal(sealed, context=context).decode()
