"""Whether a sender may post: its source, and its signature."""

from secrets import token_bytes

from ingest.listener import replies
from ingest.listener.replies import Refused
from ingest.listener.requests import Headers
from ingest.listener.sources import KnownSource, SourceDirectory, SourcesUnavailable
from ingest.models import Scheme
from tenants import signing

#: Stands in for an unknown source's key, so that its refusal takes as long.
_DUMMY_KEYS = [token_bytes(32)]
_HUB_HEADERS = ("x-hub-signature-256", "x-hub-signature")


class Admission:
    """The checks before anything of a body is read."""

    def __init__(self, sources: SourceDirectory) -> None:
        self._sources = sources

    async def admit(
        self,
        source_text: str,
        client: str,
        headers: Headers,
        body: bytes,
        *,
        now_s: float,
    ) -> KnownSource:
        """
        Return the source that signed this body.

        Raises: Refused.
        """
        source = await self._source(source_text)
        if not _is_signed(source, headers, body, now_s=now_s) or source is None:
            raise Refused(replies.SIGNATURE_INVALID)
        return source

    async def _source(self, text: str) -> KnownSource | None:
        try:
            return await self._sources.find(text)
        except SourcesUnavailable:
            raise Refused(replies.UNAVAILABLE) from None


def _is_signed(
    source: KnownSource | None, headers: Headers, body: bytes, *, now_s: float
) -> bool:
    """Tell whether the source signed this; takes as long when there is no source."""
    keys = source.keys_at(now_s) if source is not None else []
    is_standard = (
        source.scheme == Scheme.STANDARD
        if source is not None
        else "webhook-signature" in headers
    )
    verify = _verify_standard if is_standard else _verify_hub
    return verify(keys or _DUMMY_KEYS, headers, body, now_s) and bool(keys)


def _verify_hub(keys: list[bytes], headers: Headers, body: bytes, now_s: float) -> bool:
    given = [headers[name] for name in _HUB_HEADERS if name in headers]
    if len(given) != 1 or given[0] is None:
        return False
    return signing.verify_hub(keys, given[0], body)


def _verify_standard(
    keys: list[bytes], headers: Headers, body: bytes, now_s: float
) -> bool:
    identifier = headers.get("webhook-id")
    timestamp = headers.get("webhook-timestamp")
    signature = headers.get("webhook-signature")
    if identifier is None or timestamp is None or signature is None:
        return False
    return signing.verify_standard(
        keys,
        message_id=identifier,
        timestamp=timestamp,
        header=signature,
        body=body,
        now_s=now_s,
    )
