"""The signatures of both directions; nothing here raises over what others sent."""

import base64
import hashlib
import hmac
from collections.abc import Iterable

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    has_ed25519 = True
except ImportError:
    has_ed25519 = False

SECRET_PREFIX = "whsec_"  # noqa: S105 (a prefix, not a secret)
PUBLIC_PREFIX = "whpk_"
KEY_BYTES = 32
_DEVICE_LABEL = b"gridhook/device/v1\0"
#: `v1,` and the base64 of 32 bytes; `v1a,` and the base64 of 64.
_V1_LENGTH = 47
_V1A_LENGTH = 92


def hub_key(secret: str) -> bytes:
    """Return the key of `X-Hub-Signature-256`: the secret's own characters."""
    return secret.encode()


def standard_key(secret: str) -> bytes:
    """
    Return the key of `webhook-signature`: what the base64 stands for.

    Raises: ValueError: there is none behind `whsec_`. The text does not repeat it.
    """
    key = _decoded(secret, SECRET_PREFIX)
    if not key:
        raise ValueError("A secret is whsec_ and base64.")
    return key


def device_key(key: bytes, device: str) -> bytes:
    """Return the key of one device, made of its source's key."""
    return hmac.digest(key, _DEVICE_LABEL + device.encode(), "sha256")


def public_key(text: str) -> bytes:
    """
    Return the public key that `whpk_…` stands for.

    Raises: ValueError: it is none.
    """
    key = _decoded(text, PUBLIC_PREFIX)
    if len(key) != KEY_BYTES:
        raise ValueError("A public key is whpk_ and the base64 of 32 bytes.")
    return key


def _decoded(text: str, prefix: str) -> bytes:
    """Return what the base64 behind the prefix stands for; empty: it is none."""
    try:
        return base64.b64decode(text.removeprefix(prefix), validate=True)
    # Whoever reads keys from a file may have bytes, or nothing at all.
    except (AttributeError, TypeError, ValueError):
        return b""


def hub_headers(key: bytes, body: bytes) -> dict[str, str]:
    """Return the header that signs the body."""
    digest = hmac.digest(key, body, "sha256").hex()
    return {"X-Hub-Signature-256": f"sha256={digest}"}


def standard_headers(
    key: bytes, message_id: str, timestamp_s: int, body: bytes
) -> dict[str, str]:
    """Return the headers that sign id, moment and body."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": _v1(key, signed_bytes(message_id, str(timestamp_s), body)),
    }


def signed_bytes(message_id: str, timestamp: str, body: bytes) -> bytes:
    """Return what `v1` and `v1a` are over."""
    head = f"{message_id}.{timestamp}.".encode("utf-8", "surrogatepass")
    return head + body


def _v1(key: bytes, signed: bytes) -> str:
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def is_by_secret(keys: Iterable[bytes], items: Iterable[str], signed: bytes) -> bool:
    """Tell whether one of the items is one of the keys' `v1`."""
    given = [
        item.encode("ascii")
        for item in items
        if len(item) == _V1_LENGTH and item.isascii()
    ]
    matches = False
    for key in keys:
        expected = _v1(key, signed).encode()
        for one in given:
            matches |= hmac.compare_digest(expected, one)
    return matches


def is_by_public(keys: Iterable[bytes], items: Iterable[str], signed: bytes) -> bool:
    """Tell whether one of the items is one of the keys' `v1a`."""
    given = [signature for signature in map(_v1a, items) if signature]
    return any(_verifies(key, one, signed) for key in keys for one in given)


def _v1a(item: str) -> bytes:
    """Return the signature of an item; empty: it has none."""
    if len(item) != _V1A_LENGTH or not item.startswith("v1a,"):
        return b""
    try:
        return base64.b64decode(item.removeprefix("v1a,"), validate=True)
    except ValueError:
        return b""


def _verifies(key: bytes, signature: bytes, signed: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
    except (InvalidSignature, ValueError):
        return False
    return True
