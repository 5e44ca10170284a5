"""Bounding how often a password can be guessed."""

from django.http import HttpRequest
from django_ratelimit.core import is_ratelimited

from tenants.callers import caller

#: Tries a minute; the first is of one caller, the second of one e-mail address.
TRIES_OF_CALLER = "20/m"
TRIES_OF_ADDRESS = "6/m"


def _address(group: str, request: HttpRequest) -> str:
    return request.POST.get("username", "").strip().lower()


def is_guessing(request: HttpRequest) -> bool:
    """Count this try to sign in; tell whether it is one too many."""
    limits = ((caller, TRIES_OF_CALLER), (_address, TRIES_OF_ADDRESS))
    over = [
        is_ratelimited(
            request,
            group=f"sign-in{key.__name__}",
            key=key,
            rate=rate,
            method="POST",
            increment=True,
        )
        for key, rate in limits
    ]
    return any(over)
