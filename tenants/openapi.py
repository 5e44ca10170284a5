"""What the API's own description says of its door, and of its errors."""

from typing import Any

from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerExtension,
)

from tenants.problems import PROBLEM_TYPE

_PROBLEM = {
    "type": "object",
    "description": "What went wrong (RFC 9457); `code` is stable.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "errors": {"description": "What is wrong with which member."},
    },
    "required": ["type", "title", "status", "code"],
}


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Declares the bearer key in the OpenAPI document."""

    target_class = "tenants.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        """Return the scheme's definition."""
        return {"type": "http", "scheme": "bearer"}


class RequestBodies(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Says of every body that is taken that it has no other members."""

    target_class = "tenants.bodies.RequestBody"
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        """Return the shape's schema."""
        schema: dict[str, Any] = auto_schema._map_serializer(
            self.target, direction, bypass_extensions=True
        )
        return {**schema, "additionalProperties": False}


def describe_problems(result: dict[str, Any], **_kwargs: Any) -> dict[str, Any]:
    """Say of every operation that any other status comes with a problem document."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = _PROBLEM
    content = {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    components["responses"] = {
        "Problem": {"description": "A problem document", "content": content}
    }
    for operations in result["paths"].values():
        for operation in operations.values():
            operation["responses"]["default"] = {
                "$ref": "#/components/responses/Problem"
            }
    return result
