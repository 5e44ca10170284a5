"""
Verifying what came to a callback URL: whatever is wrong with it is one error.

Its text never holds what would have been right.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gridhook_client import messages, signatures
from gridhook_client.headers import Headers, pairs_of
from gridhook_client.messages import Message, Unreadable

TOLERANCE_S = 300
BODY_LIMIT_BYTES = 10 * 1024 * 1024
#: Messages of one batch.
BATCH_LIMIT = 1_000
_HEADER_CHARACTERS = 8 * 1024
_ITEMS = 32
_DIGITS = 12
_NAMES = ("webhook-id", "webhook-timestamp", "webhook-signature")


class VerificationFailed(Exception):
    """The request is not from the platform, not timely, or no message: answer 401."""


@dataclass(frozen=True)
class Batch:
    """Several messages that came in one request."""

    id: str
    messages: tuple[Message, ...]


class Verifier:
    """
    Knows an endpoint's secrets, or the tenant's public keys, and verifies by them.

    `secrets`: those in force, `whsec_…`; during a rotation the old one and the new one.
    `public_keys`: `whpk_…`, for endpoints that are sent `v1a`; needs `cryptography`.
    A message that is signed by any of them is good.
    Raises: ValueError: nothing to verify by, or a malformed key or secret. TypeError.
    """

    def __init__(
        self,
        secrets: Sequence[str] = (),
        *,
        public_keys: Sequence[str] = (),
        tolerance_s: float = TOLERANCE_S,
        limit_bytes: int = BODY_LIMIT_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if isinstance(secrets, str) or isinstance(public_keys, str):
            raise TypeError("Give a list of secrets, and of public keys.")
        if public_keys and not signatures.has_ed25519:
            raise ValueError("Public keys need gridhook-client[ed25519].")
        self._keys = [signatures.standard_key(secret) for secret in secrets]
        self._public_keys = [signatures.public_key(text) for text in public_keys]
        if not self._keys and not self._public_keys:
            raise ValueError("Give at least one secret or public key.")
        self._tolerance_s = tolerance_s
        self._limit_bytes = limit_bytes
        self._clock = clock

    def verify(self, headers: Headers, body: bytes) -> Message:
        """
        Return the message.

        Raises: VerificationFailed: whatever is wrong.
        """
        request_id = self._verified_id(headers, body)
        try:
            message = messages.message_of(messages.parse(body))
        except Unreadable as error:
            raise VerificationFailed(str(error)) from None
        if message.id != request_id:
            raise VerificationFailed("The id in the body is another one.")
        return message

    def verify_batch(self, headers: Headers, body: bytes) -> Batch:
        """
        Return the messages of a batch (`application/cloudevents-batch+json`).

        Raises: VerificationFailed: whatever is wrong, with any of them.
        """
        request_id = self._verified_id(headers, body)
        try:
            events = messages.parse(body)
            if not isinstance(events, list) or len(events) > BATCH_LIMIT:
                raise VerificationFailed("The body is no batch.")
            found = tuple(map(messages.message_of_event, events))
        except Unreadable as error:
            raise VerificationFailed(str(error)) from None
        return Batch(request_id, found)

    def _verified_id(self, headers: Headers, body: Any) -> str:
        """Return the request's id, when its signature is good."""
        if not isinstance(body, bytes) or len(body) > self._limit_bytes:
            raise VerificationFailed("The body is no bytes, or has too many.")
        message_id, timestamp, signature = _signing_headers(headers)
        if not 1 <= len(message_id) <= messages.ID_LIMIT:
            raise VerificationFailed("webhook-id is missing or too long.")
        self._check_timely(timestamp)
        items = signature.split(" ")
        if len(items) > _ITEMS:
            raise VerificationFailed("webhook-signature has too many items.")
        signed = signatures.signed_bytes(message_id, timestamp, body)
        # Both are asked, whatever the first says: the time tells nothing.
        is_by_secret = signatures.is_by_secret(self._keys, items, signed)
        is_by_public = signatures.is_by_public(self._public_keys, items, signed)
        if not (is_by_secret or is_by_public):
            raise VerificationFailed("The signature does not match.")
        return message_id

    def _check_timely(self, timestamp: str) -> None:
        is_number = timestamp.isascii() and timestamp.isdigit()
        if not is_number or len(timestamp) > _DIGITS:
            raise VerificationFailed("webhook-timestamp is no number of seconds.")
        if abs(int(timestamp) - self._clock()) > self._tolerance_s:
            raise VerificationFailed("webhook-timestamp is too far from now.")


def _signing_headers(headers: Headers) -> list[str]:
    """
    Return the three headers that sign.

    Raises: VerificationFailed: one is missing, there twice, or too long.
    """
    try:
        pairs = pairs_of(headers)
    except ValueError as error:
        raise VerificationFailed(str(error)) from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise VerificationFailed(f"{name} is there twice.")
        if name in _NAMES:
            found[name] = value
    for name in _NAMES:
        if len(found.get(name, "")) not in range(1, _HEADER_CHARACTERS + 1):
            raise VerificationFailed(f"{name} is missing or too long.")
    return [found[name] for name in _NAMES]
