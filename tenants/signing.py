"""
Signing and verifying bytes, by the two schemes that both directions share.

`hub`: `X-Hub-Signature-256: sha256=<hex>` over the body; the key is the secret's own
characters. `standard`: Standard Webhooks over `id.timestamp.body`; the key is what the
base64 behind `whsec_` stands for. Messages may carry two more: `v1a`, Ed25519 over the
same bytes as `standard`, and Stripe's. Verifying takes any header at all: what is
malformed does not match, takes as long as what is wrong, and nothing raises.
"""

import base64
import binascii
import hmac
import secrets
from collections.abc import Iterable
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

SECRET_PREFIX = "whsec_"  # noqa: S105 (a prefix, not a secret)
PUBLIC_PREFIX = "whpk_"
#: How far a Standard Webhooks timestamp may be from now.
TOLERANCE_S = 300
_SECRET_BYTES = 32
_HUB_PREFIX = b"sha256="
#: `v1,` and the base64 of 32 bytes.
_STANDARD_LENGTH = 47
_ED25519_PREFIX = "v1a,"
#: `v1a,` and the base64 of 64 bytes.
_ED25519_LENGTH = 92
#: Of either key, and of what a seed is drawn from.
_ED25519_KEY_BYTES = 32
_DIGITS_LIMIT = 12
#: A body up to this size is copied to stand behind its head: the quicker way.
_JOINED_LIMIT = 64 * 1024
_DEVICE_KEY_LABEL = b"gridhook/device/v1\0"


def new_secret() -> str:
    """Return a fresh secret of 256 random bits, as it is shown to its owner."""
    random = secrets.token_bytes(_SECRET_BYTES)
    return SECRET_PREFIX + base64.b64encode(random).decode()


def hub_key(secret: str) -> bytes:
    """Return the HMAC key of the `hub` scheme."""
    return secret.encode()


def standard_key(secret: str) -> bytes:
    """
    Return the HMAC key of the `standard` scheme.

    Raises: ValueError: no base64 behind the prefix.
    """
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("A Standard Webhooks secret is whsec_ and base64.") from error


def device_key(key: bytes, device: str) -> bytes:
    """
    Return the HMAC key of one device, for either scheme: these 32 bytes as they are.

    `key` is the source's own, by its scheme; the device's id counts in UTF-8.
    """
    return hmac.digest(key, _DEVICE_KEY_LABEL + _octets(device), "sha256")


def sign_hub(key: bytes, body: bytes) -> str:
    """Return the value of `X-Hub-Signature-256`."""
    return "sha256=" + hmac.digest(key, body, "sha256").hex()


def sign_standard(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Return one item of `webhook-signature`."""
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def new_ed25519_key() -> bytes:
    """Return a fresh private key: the 32 bytes of its seed."""
    return secrets.token_bytes(_ED25519_KEY_BYTES)


def ed25519_public(private_key: bytes) -> bytes:
    """Return the public key of a private one."""
    return _parsed(private_key).public_key().public_bytes_raw()


def public_text(public_key: bytes) -> str:
    """Return a public key as it is published: `whpk_` and base64."""
    return PUBLIC_PREFIX + base64.b64encode(public_key).decode()


def parse_public(text: str) -> bytes:
    """
    Return the public key that a text stands for.

    Raises: ValueError: not the base64 of 32 bytes behind the prefix.
    """
    try:
        key = base64.b64decode(text.removeprefix(PUBLIC_PREFIX), validate=True)
    except ValueError:
        key = b""
    if len(key) != _ED25519_KEY_BYTES:
        raise ValueError("A public key is whpk_ and the base64 of 32 bytes.")
    return key


def sign_ed25519(
    private_key: bytes, message_id: str, timestamp_s: int, body: bytes
) -> str:
    """Return one item of `webhook-signature`, which the public key verifies."""
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp_s, body)
    signature = _parsed(private_key).sign(signed)
    return _ED25519_PREFIX + base64.b64encode(signature).decode()


@lru_cache(maxsize=1024)
def _parsed(private_key: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(private_key)


def sign_stripe(secret: str, timestamp_s: int, body: bytes, *older: str) -> str:
    """
    Return the value of `Stripe-Signature`, with an item for each secret in force.

    The key is the secret's own characters, as in `hub`.
    """
    signed = b"%d.%s" % (timestamp_s, body)
    digests = (
        hmac.digest(hub_key(one), signed, "sha256").hex() for one in (secret, *older)
    )
    return ",".join((f"t={timestamp_s}", *(f"v1={digest}" for digest in digests)))


def verify_hub(keys: Iterable[bytes], header: str, body: bytes) -> bool:
    """Tell whether the header is one of the keys' signature; hex in either case."""
    given = _octets(header)
    digits = b""
    if given.startswith(_HUB_PREFIX):
        digits = given[len(_HUB_PREFIX) :].lower()
    matches = False
    for key in keys:
        expected = hmac.digest(key, body, "sha256").hex().encode()
        matches |= hmac.compare_digest(expected, digits)
    return matches


def verify_standard(
    keys: Iterable[bytes],
    *,
    message_id: str,
    timestamp: str,
    header: str,
    body: bytes,
    now_s: float,
) -> bool:
    """Tell whether one of the header's signatures is one of the keys', and timely."""
    given = [
        _octets(item)
        for item in header.split(" ")
        if item.startswith("v1,") and len(item) == _STANDARD_LENGTH
    ]
    head = b"%s.%s." % (_octets(message_id), _octets(timestamp))
    matches = False
    for key in keys:
        expected = b"v1," + base64.b64encode(_joined_digest(key, head, body))
        for item in given:
            matches |= hmac.compare_digest(expected, item)
    return matches and is_timely(timestamp, now_s)


def verify_ed25519(
    public_keys: Iterable[bytes],
    *,
    message_id: str,
    timestamp: str,
    header: str,
    body: bytes,
    now_s: float,
) -> bool:
    """Tell whether one of the header's `v1a` items is one of the keys', and timely."""
    signed = b"%s.%s.%s" % (_octets(message_id), _octets(timestamp), body)
    given = [_signature(item) for item in header.split(" ")]
    matches = any(
        _is_by(key, signature, signed) for key in public_keys for signature in given
    )
    return matches and is_timely(timestamp, now_s)


def _signature(item: str) -> bytes:
    """Return the signature of a `v1a` item; empty: it is none."""
    if not item.startswith(_ED25519_PREFIX) or len(item) != _ED25519_LENGTH:
        return b""
    try:
        return base64.b64decode(item.removeprefix(_ED25519_PREFIX), validate=True)
    except ValueError:
        return b""


def _is_by(public_key: bytes, signature: bytes, signed: bytes) -> bool:
    if not signature:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def _joined_digest(key: bytes, head: bytes, body: bytes) -> bytes:
    if len(body) <= _JOINED_LIMIT:
        return hmac.digest(key, head + body, "sha256")
    mac = hmac.new(key, head, "sha256")
    mac.update(body)
    return mac.digest()


def is_timely(timestamp: str, now_s: float) -> bool:
    """Tell whether a Standard Webhooks timestamp is one, and near enough to now."""
    if not timestamp.isascii() or not timestamp.isdigit():
        return False
    return (
        len(timestamp) <= _DIGITS_LIMIT and abs(int(timestamp) - now_s) <= TOLERANCE_S
    )


def _octets(text: str) -> bytes:
    """Return the bytes of any text at all, half a surrogate pair in it or not."""
    return text.encode("utf-8", "surrogatepass")
