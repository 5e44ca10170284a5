"""The API's door: `Authorization: Bearer <api key>`."""

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from tenants.actors import Actor


class ApiKeyAuthentication(BaseAuthentication):
    """Take the actor that the middleware found by the key."""

    def authenticate(self, request: Request) -> tuple[Actor, None] | None:
        """
        Return the key's actor.

        Raises: AuthenticationFailed: a key was given that is not in force.
        """
        actor: Actor | None = getattr(request._request, "actor", None)
        if actor is not None:
            return actor, None
        if request.headers.get("Authorization"):
            raise AuthenticationFailed("The API key is unknown or revoked.")
        return None

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge of a 401."""
        return 'Bearer realm="gridhook"'
