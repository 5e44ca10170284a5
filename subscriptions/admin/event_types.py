"""The page of the catalogue: every type of event, its schema and an example."""

from typing import Any

import msgspec
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from subscriptions.catalogue import CATALOGUE, EventType, patterns_for
from subscriptions.queries.endpoints import endpoints_of
from tenants.actors import actor_of
from tenants.console.pages import TenantAdmin


def event_types_page(page: TenantAdmin, request: HttpRequest) -> HttpResponse:
    """
    Show the catalogue, and how many endpoints hear of each type.

    Raises: PermissionDenied.
    """
    if not page.has_view_permission(request):
        raise PermissionDenied
    rows = endpoints_of(actor_of(request).tenant)
    wanted = [frozenset(types) for types in rows.values_list("event_types", flat=True)]
    return page.page(
        request,
        "console/event_types.html",
        title="Event types",
        opts=None,
        types=[_row(kind, wanted) for kind in CATALOGUE.values()],
    )


def _row(kind: EventType, wanted: list[frozenset[str]]) -> dict[str, Any]:
    patterns = patterns_for(kind.name)
    return {
        "kind": kind,
        "words": kind.description.replace("`", ""),
        "patterns": sorted(patterns - {kind.name}, reverse=True),
        "heard_by": sum(not patterns.isdisjoint(types) for types in wanted),
        "members": [_member(kind, *item) for item in _properties(kind.schema)],
        "example": _indented(kind.example),
        "thin_example": _indented(kind.thin_example),
        "schema": _indented(kind.schema),
    }


def _properties(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return list(schema.get("properties", {}).items())


def _member(kind: EventType, name: str, shape: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "shape": shape_words(shape),
        "words": shape.get("description", ""),
        "is_optional": name not in kind.schema.get("required", ()),
        "is_thin": name in kind.thin,
    }


def shape_words(shape: dict[str, Any]) -> str:
    """Return the shape of a member in a few words."""
    if "anyOf" in shape:
        return " or ".join(shape_words(one) for one in shape["anyOf"])
    if "enum" in shape:
        return ", ".join(str(one) for one in shape["enum"])
    if shape.get("type") == "array":
        return f"list of {shape_words(shape['items'])}"
    words = {"date-time": "moment", "date": "date", "uri": "URL"}
    return words.get(shape.get("format", ""), str(shape.get("type", "anything")))


def _indented(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
