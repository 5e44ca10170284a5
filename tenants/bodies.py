"""
What a request's body may have: the base of every shape that the API takes.

A member that is misspelt is refused: ignored, `filter` for `filters` would open an
endpoint to everything.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from rest_framework import serializers
from rest_framework.request import Request

from tenants.known_names import refuse_unknown


class RequestBody(serializers.Serializer[Any]):
    """A body without members that it does not know."""

    #: The shape in which the API shows the thing. Its members may come back, so that
    #: what was read can be changed and sent; those that cannot be set change nothing.
    shown_as: ClassVar[type[serializers.Serializer[Any]] | None] = None

    def to_internal_value(self, data: Any) -> Any:
        """
        Return the members, each checked.

        Raises: ValidationError.
        """
        if isinstance(data, Mapping):
            shown = self.shown_as().fields if self.shown_as else ()
            given = (name for name in data if name not in shown)
            refuse_unknown(given, self.fields, what="member")
        return super().to_internal_value(data)


class ObjectField(serializers.JSONField):
    """An object that a service judges; its members are known by name all the same."""

    #: What may be given.
    members: ClassVar[Mapping[str, str]]
    #: What the API shows there, and nobody sets.
    shown: ClassVar[frozenset[str]] = frozenset()

    def to_internal_value(self, data: Any) -> Any:
        """
        Return the object as it came.

        Raises: ValidationError.
        """
        if isinstance(data, Mapping):
            given = (name for name in data if name not in self.shown)
            refuse_unknown(given, self.members, what="member")
        return super().to_internal_value(data)


def given(
    request: Request, shape: type[RequestBody], *, is_partial: bool = False
) -> dict[str, Any]:
    """
    Return the request's body, checked.

    Raises: ValidationError.
    """
    body = shape(data=request.data, partial=is_partial)
    body.is_valid(raise_exception=True)
    return dict(body.validated_data)
