"""Secrets at rest: AES-256-GCM under a key that can be rotated."""

import base64
import binascii
import secrets
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

_NONCE_BYTES = 12
_KEY_BYTES = 32


class KeysInvalid(ValueError):
    """GRIDHOOK_ENCRYPTION_KEYS cannot be used."""


class SealBroken(Exception):
    """A sealed secret was changed, moved to another row, or its key is gone."""


def parse_keys(text: str) -> dict[str, AESGCM]:
    """
    Return the ciphers by key id, the encrypting one first.

    Raises: KeysInvalid: no key, no id, or not 32 bytes of base64.
    """
    ciphers: dict[str, AESGCM] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        key_id, _, encoded = part.partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise KeysInvalid(f"Key {key_id!r} is not base64.") from error
        if not key_id or len(key) != _KEY_BYTES:
            raise KeysInvalid("Each key is `id:` and the base64 of 32 bytes.")
        ciphers[key_id] = AESGCM(key)
    if not ciphers:
        raise KeysInvalid("No encryption key is set.")
    return ciphers


@lru_cache(maxsize=4)
def _ciphers(text: str) -> dict[str, AESGCM]:
    return parse_keys(text)


def seal(secret: bytes, *, context: str) -> bytes:
    """
    Return the secret, encrypted under the first key.

    `context` names the row (tenant and id); it is authenticated, not stored, so a
    sealed value copied to another row does not open.
    """
    key_id, cipher = next(iter(_ciphers(settings.ENCRYPTION_KEYS).items()))
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = cipher.encrypt(nonce, secret, context.encode())
    return key_id.encode() + b":" + nonce + sealed


def unseal(sealed: bytes, *, context: str) -> bytes:
    """
    Return the secret.

    Raises: SealBroken: it does not open.
    """
    key_id, _, rest = bytes(sealed).partition(b":")
    cipher = _ciphers(settings.ENCRYPTION_KEYS).get(key_id.decode("ascii", "replace"))
    if cipher is None:
        raise SealBroken("The key that sealed this secret is not configured.")
    try:
        return cipher.decrypt(
            rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], context.encode()
        )
    except (InvalidTag, ValueError) as error:
        raise SealBroken("This secret does not open here.") from error


def is_current(sealed: bytes) -> bool:
    """Tell whether the secret is sealed under the key that encrypts now."""
    key_id = next(iter(_ciphers(settings.ENCRYPTION_KEYS)))
    return bytes(sealed).partition(b":")[0] == key_id.encode()
