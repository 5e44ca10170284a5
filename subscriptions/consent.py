"""
The consent handshakes: what is asked, and what counts as a yes.

First CloudEvents' `OPTIONS`, then WebSub's challenge. A status alone is no consent.
Source: docs/explanation/delivery.md
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from django.conf import settings

from subscriptions.http import Outcome, Request, send_all

#: What WebSub's `hub.lease_seconds` says: ten days, its own recommendation.
LEASE_S = 864_000
_RATE_DIGITS = 9


@dataclass(frozen=True)
class Asked:
    """An endpoint's URL, and the topic that it is asked to consent to."""

    url: str
    topic: str


@dataclass(frozen=True)
class Answer:
    """Whether the receiver consents, to how much, and how it was told."""

    has_consented: bool
    rate_per_min: int | None
    detail: str


def origin() -> str:
    """Return the name that the platform asks under."""
    return settings.CONSOLE_URL.partition("://")[2].partition("/")[0].partition(":")[0]


def ask(asked: Sequence[Asked], *, origin: str) -> list[Answer]:
    """Ask all of them at once; return their answers, in their order."""
    options = send_all([_options(one, origin) for one in asked])
    answers = [_answer_to_options(outcome, origin) for outcome in options]
    left = [number for number, one in enumerate(answers) if not one.has_consented]
    challenges = {number: secrets.token_urlsafe(24) for number in left}
    gets = send_all([_challenge(asked[n], challenges[n]) for n in left])
    for number, got in zip(left, gets, strict=True):
        answers[number] = _answer_to_get(options[number], got, challenges[number])
    return answers


def _options(asked: Asked, origin: str) -> Request:
    headers = [f"WebHook-Request-Origin: {origin}"]
    return Request(asked.url, method="OPTIONS", headers=headers)


def _challenge(asked: Asked, challenge: str) -> Request:
    query = urlencode(
        {
            "hub.mode": "subscribe",
            "hub.topic": asked.topic,
            "hub.challenge": challenge,
            "hub.lease_seconds": LEASE_S,
        }
    )
    joint = "&" if urlsplit(asked.url).query else "?"
    return Request(f"{asked.url.rstrip('?')}{joint}{query}", method="GET")


def _answer_to_options(outcome: Outcome, origin: str) -> Answer:
    allowed = outcome.headers.get("webhook-allowed-origin", "")
    names = {name.strip().lower() for name in allowed.split(",")}
    # The header is the consent, not the status; but an error page is nobody's word.
    if not outcome.is_success or not names & {"*", origin.lower()}:
        return Answer(False, None, "")
    return Answer(True, _rate(outcome.headers), "Consented by OPTIONS.")


def _rate(headers: Mapping[str, str]) -> int | None:
    """Return the granted requests per minute; None: as many as there are."""
    text = headers.get("webhook-allowed-rate", "")
    is_number = text.isascii() and text.isdigit() and len(text) <= _RATE_DIGITS
    return int(text) or None if is_number else None


def _answer_to_get(options: Outcome, got: Outcome, challenge: str) -> Answer:
    if got.is_success and got.body.strip() == challenge.encode():
        return Answer(True, None, "Consented by echoing the challenge.")
    said, then = _words(options), _words(got)
    if got.is_success:
        then += " without the challenge"
    return Answer(
        False, None, f"No consent yet: OPTIONS {said}; GET with a challenge {then}."
    )


def _words(outcome: Outcome) -> str:
    if outcome.error:
        return f"failed ({outcome.error}: {outcome.detail.rstrip('.')})"
    return f"was answered {outcome.status_code}"
