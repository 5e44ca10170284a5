"""
The consent handshakes: what is asked, and what counts as a yes, a no and neither.

First CloudEvents' `OPTIONS`, then WebSub's challenge. A status alone is no consent; an
answer that came and does not consent is a refusal; trouble on the way is neither.
Source: docs/explanation/delivery.md
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import urlencode, urlsplit

from django.conf import settings

from subscriptions.http import Outcome, Request, send_all
from subscriptions.queries.outcome_words import outcome_words

#: The highest rate that is granted or asked for: beyond it, it is no bound.
RATE_LIMIT_PER_MIN = 1_000_000
#: Digits that are read of one: more of them say no less.
_RATE_DIGITS = 9
_BY_OPTIONS = "Consented by OPTIONS."
_UNAUTHORIZED = 401
_GONE = 410
#: Statuses of 400 and above that say "not now", not "no".
_NOT_NOW = {408, 425, 429}
_SERVER_ERRORS = 500
_REDIRECTS = range(300, 400)


class Verdict(StrEnum):
    """What a receiver said."""

    GRANTED = "granted"
    #: It answered, and did not consent.
    REFUSED = "refused"
    #: It wants no message ever again.
    GONE = "gone"
    #: Nobody answered, or an error did.
    UNANSWERED = "unanswered"


@dataclass(frozen=True)
class Asked:
    """Whom to ask, about which topic, and for how much."""

    #: The URL, with what any request to it carries: the origin, credentials.
    request: Request
    topic: str
    rate_per_min: int | None = None
    #: Whether the request carries a bearer token.
    has_token: bool = False


@dataclass(frozen=True)
class Step:
    """One request of a handshake and what came of it."""

    name: str
    status_code: int | None
    detail: str


@dataclass(frozen=True)
class Answer:
    """Whether the receiver consents, to how much, and how it was told."""

    verdict: Verdict
    rate_per_min: int | None
    detail: str
    steps: tuple[Step, ...] = ()
    #: It could not say how much: what it granted before holds on.
    is_rate_kept: bool = False
    #: It did not take the bearer token that it was shown.
    is_token_refused: bool = False

    @property
    def has_consented(self) -> bool:
        """Whether it was a yes."""
        return self.verdict == Verdict.GRANTED


def origin() -> str:
    """Return the name that the platform asks under."""
    return urlsplit(settings.CONSOLE_URL).hostname or ""


def lease_s() -> int:
    """Return for how long a consent holds without being renewed."""
    return settings.CONSENT_LEASE_DAYS * 86_400


def ask(asked: Sequence[Asked], *, origin: str) -> list[Answer]:
    """Ask all of them at once; return their answers, in their order."""
    options = send_all([_options(one) for one in asked])
    answers = [_answer_to_options(outcome, origin) for outcome in options]
    left = [number for number, one in enumerate(answers) if one is None]
    challenges = {number: secrets.token_urlsafe(24) for number in left}
    gets = send_all([_challenge(asked[n], challenges[n]) for n in left])
    for number, got in zip(left, gets, strict=True):
        answers[number] = _answer_to_get(options[number], got, challenges[number])
    return [
        _with_token(one, answer)
        for one, answer in zip(asked, answers, strict=True)
        if answer is not None
    ]


def _with_token(asked: Asked, answer: Answer) -> Answer:
    """Take a refused token for trouble: another one may find another answer."""
    codes = {step.status_code for step in answer.steps}
    if not asked.has_token or _UNAUTHORIZED not in codes:
        return answer
    is_no = answer.verdict == Verdict.REFUSED
    verdict = Verdict.UNANSWERED if is_no else answer.verdict
    return replace(answer, verdict=verdict, is_rate_kept=True, is_token_refused=True)


def _options(asked: Asked) -> Request:
    headers = list(asked.request.headers)
    if asked.rate_per_min is not None:
        headers.append(f"WebHook-Request-Rate: {asked.rate_per_min}")
    return replace(asked.request, method="OPTIONS", headers=headers, body=None)


def _challenge(asked: Asked, challenge: str) -> Request:
    query = urlencode(
        {
            "hub.mode": "subscribe",
            "hub.topic": asked.topic,
            "hub.challenge": challenge,
            "hub.lease_seconds": lease_s(),
        }
    )
    url = asked.request.url
    joint = "&" if urlsplit(url).query else "?"
    url = f"{url.rstrip('?')}{joint}{query}"
    return replace(asked.request, url=url, method="GET", body=None)


def _answer_to_options(outcome: Outcome, origin: str) -> Answer | None:
    """Return the answer; None: it is to be asked in the other way."""
    if _is_gone(outcome):
        return _gone("OPTIONS", (_step("options", outcome),))
    allowed = outcome.headers.get("webhook-allowed-origin", "")
    names = {name.strip().lower() for name in allowed.split(",")}
    # The header is the consent, not the status; but an error page is nobody's word.
    if not outcome.is_success or not names & {"*", origin.lower()}:
        return None
    steps = (_step("options", outcome),)
    text = outcome.headers.get("webhook-allowed-rate", "*")
    if text == "*":
        return Answer(Verdict.GRANTED, None, _BY_OPTIONS, steps)
    rate = _rate(text)
    if rate is None:
        detail = f"{_BY_OPTIONS} WebHook-Allowed-Rate is no number: {text[:40]!r}."
        return Answer(Verdict.GRANTED, None, detail, steps, is_rate_kept=True)
    if rate == 0:
        detail = "No consent: OPTIONS granted 0 requests a minute."
        return Answer(Verdict.REFUSED, None, detail, steps)
    return Answer(Verdict.GRANTED, rate, _BY_OPTIONS, steps)


def _rate(text: str) -> int | None:
    """Return how many requests a minute the text says; None: it is no number."""
    if not text.isascii() or not text.isdigit():
        return None
    digits = text.lstrip("0")[:_RATE_DIGITS]
    return min(int(digits or "0"), RATE_LIMIT_PER_MIN)


def _answer_to_get(options: Outcome, got: Outcome, challenge: str) -> Answer:
    steps = (_step("options", options), _step("challenge", got))
    if got.is_success and got.body.strip() == challenge.encode():
        detail = "Consented by echoing the challenge."
        is_rate_kept = not _is_no(options)
        return Answer(Verdict.GRANTED, None, detail, steps, is_rate_kept)
    if _is_gone(got):
        return _gone("GET", steps)
    said, then = _words(options), _words(got)
    if got.is_success:
        then += " without the challenge"
    is_no = _is_no(options) and _is_no(got)
    return Answer(
        Verdict.REFUSED if is_no else Verdict.UNANSWERED,
        None,
        f"No consent: OPTIONS {said}; GET with a challenge {then}.",
        steps,
    )


def _gone(method: str, steps: tuple[Step, ...]) -> Answer:
    detail = f"{method} was answered 410: the receiver wants no messages."
    return Answer(Verdict.GONE, None, detail, steps)


def _is_gone(outcome: Outcome) -> bool:
    return not outcome.error and outcome.status_code == _GONE


def _is_no(outcome: Outcome) -> bool:
    """Tell whether somebody answered in earnest, whatever it said."""
    status = outcome.status_code
    if outcome.error or status is None or status >= _SERVER_ERRORS:
        return False
    return status not in _NOT_NOW and status not in _REDIRECTS


def _step(name: str, outcome: Outcome) -> Step:
    words = _words(outcome)
    detail = f"{name.upper() if name == 'options' else 'GET'} {words}."
    return Step(name, outcome.status_code, detail)


def _words(outcome: Outcome) -> str:
    if outcome.error:
        detail = outcome.detail.rstrip(".") or outcome.error
        return f"failed: {outcome_words(None, outcome.error)} ({detail})"
    return f"was answered {outcome.status_code}"
