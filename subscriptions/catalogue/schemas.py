"""JSON Schemas (2020-12) of the members that events have."""

from collections.abc import Iterable
from typing import Any

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def described(shape: Schema, words: str) -> Schema:
    """Return the shape with words for whoever reads it."""
    return {**shape, "description": words}


def public(prefix: str) -> Schema:
    """Return the shape of a public id."""
    return {"type": "string", "pattern": f"^{prefix}_[0-9a-f]{{32}}$"}


def one_of(*values: str) -> Schema:
    """Return the shape of one of these words."""
    return {"type": "string", "enum": list(values)}


def or_null(shape: Schema) -> Schema:
    """Return the shape, or null."""
    return {"anyOf": [shape, {"type": "null"}]}


def items(shape: Schema, most: int | None = None) -> Schema:
    """Return the shape of a list."""
    bound = {} if most is None else {"maxItems": most}
    return {"type": "array", "items": shape, **bound}


def members(optional: Iterable[str] = (), /, **shapes: Schema) -> Schema:
    """Return the shape of an object; further members may come with later versions."""
    left_out = set(optional)
    return {
        "type": "object",
        "properties": shapes,
        "required": [name for name in shapes if name not in left_out],
    }


def document(optional: Iterable[str] = (), /, **shapes: Schema) -> Schema:
    """Return a whole schema, with the dialect that it is written in."""
    return {"$schema": DIALECT, **members(optional, **shapes)}


TEXT: Schema = {"type": "string"}
#: Which device, in its own name.
DEVICE: Schema = {"type": "string", "minLength": 1, "maxLength": 255}
CHANNEL: Schema = {"type": "string", "minLength": 1, "maxLength": 255}
KIND = one_of("interval", "register")
QUALITY = one_of("A", "E", "S", "F", "N")
COUNT: Schema = {"type": "integer", "minimum": 0}
#: Exact: a decimal as text, never a float.
DECIMAL: Schema = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"}
MOMENT: Schema = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z$",
}
DATE: Schema = {
    "type": "string",
    "format": "date",
    "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
}
URL: Schema = {"type": "string", "format": "uri"}
DIGEST: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
RECEIPT = public("rcp")
SOURCE = public("src")
ENDPOINT = public("ep")
