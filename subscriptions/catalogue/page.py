"""The catalogue as a page of the documentation."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from subscriptions.catalogue import CATALOGUE
from subscriptions.catalogue.entry import EventType

_HEAD = """\
# Event types

Written by `python -m subscriptions.catalogue`. `GET /api/v1/event-types/` has the same,
and so has the console under *Event types*. What surrounds `data`:
[messages](messages.md). Who hears of what:
[choose what an endpoint hears](../how-to/choose-what-an-endpoint-hears.md).

Further members may come with later versions: leave alone what you do not know. Values
of meters are decimals as text, exact. **Urgent** types overtake the others.

| type | |
|---|---|
"""


def page() -> str:
    """Return the page as Markdown."""
    index = "".join(_line(one) for one in CATALOGUE.values())
    return _HEAD + index + "".join(_section(one) for one in CATALOGUE.values())


def _line(one: EventType) -> str:
    urgent = " **Urgent.**" if one.urgent else ""
    anchor = one.name.replace(".", "")
    return f"| [`{one.name}`](#{anchor}) | {one.description}{urgent} |\n"


def _section(one: EventType) -> str:
    rows = "".join(
        f"| `{path}` | {kind} |\n" for path, kind in _members(one.schema, "")
    )
    return (
        f"\n## {one.name}\n\n{one.description}\n\n"
        f"{_json(one.example)}\n"
        f"| member | |\n|---|---|\n{rows}\n"
        f"Thin:\n\n{_json(one.thin_example)}\n"
        f"<details><summary>JSON Schema</summary>\n\n"
        f"```json\n{json.dumps(one.schema)}\n```\n\n</details>\n"
    )


def _json(value: Any) -> str:
    return f"```json\n{json.dumps(value, indent=1)}\n```\n"


def _members(schema: Mapping[str, Any], before: str) -> Iterable[tuple[str, str]]:
    for name, shape in schema.get("properties", {}).items():
        inner = shape.get("items", shape)
        path = f"{before}{name}{'[]' if inner is not shape else ''}"
        yield path, _kind(shape)
        yield from _members(inner, f"{path}.")


def _kind(shape: Mapping[str, Any]) -> str:
    """Return a member's type in words."""
    words = _plain_kind(shape)
    extra = shape.get("description", "")
    return f"{words}: {extra}" if extra else words


def _plain_kind(shape: Mapping[str, Any]) -> str:
    if "anyOf" in shape:
        return " or ".join(_plain_kind(one) for one in shape["anyOf"])
    if "enum" in shape:
        return ", ".join(f"`{value}`" for value in shape["enum"])
    if "format" in shape:
        return str(shape["format"])
    pattern = shape.get("pattern", "")
    if "_[0-9a-f]{32}" in pattern:
        return f"id, `{pattern[1:].split('_')[0]}_…`"
    if pattern.startswith("^-?[0-9]"):
        return "decimal as text"
    most = f", {shape['maxItems']} at most" if "maxItems" in shape else ""
    return f"{shape['type']}{most}"
