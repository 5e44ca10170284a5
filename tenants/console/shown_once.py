"""
Secrets that a page shows once, after the redirect that made them.

Until then the session holds them sealed, so that they are nowhere in clear at rest.
"""

from base64 import b64decode, b64encode

from django.contrib.sessions.backends.base import SessionBase

from tenants import vault

_CONTEXT = "console:shown-once"


def keep(session: SessionBase, name: str, secret: str) -> None:
    """Put a secret by until the page of this name shows it."""
    sealed = vault.seal(secret.encode(), context=f"{_CONTEXT}:{name}")
    session[name] = b64encode(sealed).decode()


def take(session: SessionBase, name: str) -> str | None:
    """Return the secret and forget it; None: it was shown before."""
    sealed = session.pop(name, None)
    if sealed is None:
        return None
    return vault.unseal(b64decode(sealed), context=f"{_CONTEXT}:{name}").decode()
