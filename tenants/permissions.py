"""What a role may do in the API."""

from typing import TYPE_CHECKING

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from tenants.actors import Actor
from tenants.models import Role

if TYPE_CHECKING:
    from rest_framework.views import APIView


class RolePermission(BasePermission):
    """Everyone of the tenant reads; a view's `write_roles` (admins alone) write."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        """Tell whether the actor's role allows the method on this view."""
        actor = request.user
        if not isinstance(actor, Actor):
            return False
        if request.method in SAFE_METHODS:
            return actor.role in getattr(view, "read_roles", set(Role))
        return actor.role in getattr(view, "write_roles", {Role.ADMIN})
