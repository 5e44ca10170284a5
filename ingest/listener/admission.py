"""
Whether a sender may post: its source, address, rate and signature, in this order.

A known source is told of its address and its rate before its signature is looked at.
An unknown or disabled one is always told what a wrong signature is told, and after as
much work: `_REFUSAL_DIGESTS` digests over the body, whatever was missing or malformed.
"""

import asyncio
from secrets import token_bytes
from typing import NamedTuple

from django.conf import settings

from ingest.listener import replies
from ingest.listener.rate_store import Limits
from ingest.listener.rates import RateLimiter
from ingest.listener.replies import Refused, Reply
from ingest.listener.requests import (
    LARGE_BYTES,
    Headers,
    Request,
    device_named,
    forwarded,
)
from ingest.listener.sources import KnownSource, SourceDirectory, SourcesUnavailable
from ingest.models import Scheme
from tenants import signing
from tenants.addresses import Address, Networks, client_address, host_of, parse_address

#: Stands in for an unknown source's key, so that its refusal takes as long.
_DUMMY_KEYS = [token_bytes(32)]
#: Keys that a refusal is tried with at least: as many as a source has that rotates.
_REFUSAL_DIGESTS = 2
_HUB_HEADERS = ("x-hub-signature-256", "x-hub-signature")


class Admitted(NamedTuple):
    """A sender that may post."""

    source: KnownSource
    #: The device whose own key signed; None: the source's did.
    device: str | None
    #: What its reply says besides.
    headers: list[tuple[str, str]]

    def marked(self, reply: Reply) -> Reply:
        """Return the reply with what the sender is told of its limits."""
        if not self.headers:
            return reply
        return reply._replace(headers=[*reply.headers, *self.headers])


_NOTHING: list[tuple[str, str]] = []


class Admission:
    """The checks before anything of a body is read."""

    def __init__(self, sources: SourceDirectory, limiter: RateLimiter) -> None:
        self._sources = sources
        self._limiter = limiter
        self._proxies = Networks(settings.TRUSTED_PROXIES)

    async def admit(
        self,
        request: Request,
        source_text: str,
        headers: Headers,
        body: bytes,
        *,
        now_s: float,
    ) -> Admitted:
        """
        Return the source that signed this body, and the device.

        Raises: Refused.
        """
        source = await self._source(source_text)
        marks = _NOTHING
        if source is not None:
            networks = source.networks
            if networks is not None and self._address(request) not in networks:
                raise Refused(replies.ADDRESS_NOT_ALLOWED)
            if source.limits:
                marks = await self._count(source.limits)
        keys, device = _keys(source, headers, now_s)
        if len(body) > LARGE_BYTES:
            is_signed = await asyncio.to_thread(
                _is_signed, source, keys, headers, body, now_s=now_s
            )
        else:
            is_signed = _is_signed(source, keys, headers, body, now_s=now_s)
        if not is_signed or source is None:
            raise Refused(replies.SIGNATURE_INVALID)
        return Admitted(source, device, marks)

    def client(self, request: Request) -> str:
        """Return where a request comes from, for the log."""
        if not self._proxies:
            return request.client
        return str(self._address(request) or request.client)

    def _address(self, request: Request) -> Address | None:
        peer = host_of(request.client)
        if not self._proxies:
            return parse_address(peer)
        return client_address(peer, forwarded(request), self._proxies)

    async def _count(self, limits: Limits) -> list[tuple[str, str]]:
        grant = await self._limiter.take(limits)
        if not grant.is_granted:
            raise Refused(replies.rate_limited(limits, grant))
        return replies.rate_headers(limits, grant)

    async def _source(self, text: str) -> KnownSource | None:
        try:
            return await self._sources.find(text)
        except SourcesUnavailable:
            raise Refused(replies.UNAVAILABLE) from None


def _keys(
    source: KnownSource | None, headers: Headers, now_s: float
) -> tuple[list[bytes], str | None]:
    """Return the keys that may have signed, none for nobody, and the device's name."""
    if source is None:
        if "x-device-id" in headers:
            # As long as it takes for a source with device keys.
            signing.device_key(_DUMMY_KEYS[0], headers["x-device-id"] or "")
        return [], None
    keys = source.keys_at(now_s)
    if not source.device_keys:
        return keys, None
    device = device_named(headers.get("x-device-id"))
    if device is None or device in source.revoked:
        return [], None
    return [signing.device_key(key, device) for key in keys], device


def _is_signed(
    source: KnownSource | None,
    keys: list[bytes],
    headers: Headers,
    body: bytes,
    *,
    now_s: float,
) -> bool:
    """Tell whether one of the keys signed this; without keys it takes as long."""
    is_standard = (
        source.scheme == Scheme.STANDARD
        if source is not None
        else "webhook-signature" in headers
    )
    verify = _verify_standard if is_standard else _verify_hub
    if verify(keys or _DUMMY_KEYS, headers, body, now_s) and keys:
        return True
    for _ in range(_REFUSAL_DIGESTS - max(1, len(keys))):
        signing.verify_hub(_DUMMY_KEYS, "", body)
    return False


def _verify_hub(keys: list[bytes], headers: Headers, body: bytes, now_s: float) -> bool:
    given = [headers[name] for name in _HUB_HEADERS if name in headers]
    only = given[0] if len(given) == 1 else None
    return signing.verify_hub(keys, only or "", body)


def _verify_standard(
    keys: list[bytes], headers: Headers, body: bytes, now_s: float
) -> bool:
    identifier = headers.get("webhook-id")
    is_good = signing.verify_standard(
        keys,
        message_id=identifier or "",
        timestamp=headers.get("webhook-timestamp") or "",
        header=headers.get("webhook-signature") or "",
        body=body,
        now_s=now_s,
    )
    return is_good and identifier is not None
