"""
Agreeing to be sent messages, in either of the two ways in which the platform asks.

A server without consent gets nothing: answer one of them, for the URL you registered.
"""

from collections.abc import Collection
from urllib.parse import parse_qs

from gridhook_client.headers import Headers, pairs_of

_CHALLENGE_CHARACTERS = 512
_QUERY_CHARACTERS = 8 * 1024


def options_headers(
    request_headers: Headers,
    *,
    origins: Collection[str],
    rate_per_min: int | None = None,
) -> dict[str, str]:
    """
    Return the headers that answer `OPTIONS`; empty: this sender may not.

    `origins`: the platforms that may send, by host; `*`: any.
    `rate_per_min`: how many requests a minute are granted; None: as many as come.
    """
    try:
        found = dict(pairs_of(request_headers))
    except ValueError:
        return {}
    origin = found.get("webhook-request-origin", "").strip().lower()
    allowed = {one.lower() for one in origins}
    if not _is_host(origin) or not allowed & {origin, "*"}:
        return {}
    rate = "*" if rate_per_min is None else str(rate_per_min)
    return {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": rate}


def _is_host(origin: str) -> bool:
    """Tell whether a header may repeat it: a host, and nothing that ends a line."""
    return (
        1 <= len(origin) <= _CHALLENGE_CHARACTERS
        and origin.isascii()
        and not set(origin) - set("abcdefghijklmnopqrstuvwxyz0123456789.-:[]")
    )


def challenge_answer(query: str) -> bytes | None:
    """
    Return the body that answers a `GET` with a challenge; None: it is no such question.

    Answer 200 with it as `text/plain`: it repeats what the caller said.
    """
    if len(query) > _QUERY_CHARACTERS:
        return None
    try:
        asked = parse_qs(query, max_num_fields=20)
    except ValueError:
        return None
    challenge = asked.get("hub.challenge", [""])
    if asked.get("hub.mode") != ["subscribe"] or len(challenge) != 1:
        return None
    text = challenge[0]
    is_fit = 1 <= len(text) <= _CHALLENGE_CHARACTERS
    return text.encode() if is_fit and text.isascii() and text.isprintable() else None
