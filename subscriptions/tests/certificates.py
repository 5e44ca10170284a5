"""Certificates for tests, made on the spot."""

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID


def certified(
    name: str,
    key: Any,
    *,
    now: datetime | None = None,
    issuer: tuple[str, Any] | None = None,
    days: int = 1,
) -> str:
    """Return a certificate in PEM for the name, by the issuer or by itself."""
    now = now or datetime.now(tz=UTC)
    issuer_name, issuer_key = issuer or (name, key)
    by = None if isinstance(issuer_key, Ed25519PrivateKey) else hashes.SHA256()
    ends_at = now + timedelta(days=days)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer_name)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, ends_at) - timedelta(days=1))
        .not_valid_after(ends_at)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(issuer_key, by)
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def key_pem(key: Any) -> str:
    """Return the private key in PEM."""
    return str(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
    )
