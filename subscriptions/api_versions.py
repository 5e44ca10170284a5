"""
The shapes that bodies have had: an endpoint is sent the one that it was built for.

A version is named by the day on which it came. An event is told in the newest shape;
each version knows how to undo what it changed, so an older shape is reached step by
step, and its bytes stay what they were when newer versions come.
Source: docs/how-to/choose-what-an-endpoint-hears.md
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tenants.problems import Problem

#: A message as JSON: `id`, `type`, `timestamp`, `tenant`, `data`.
Document = dict[str, Any]


class ApiVersionUnknown(Problem):
    """No body ever had this shape."""

    code = "api_version_unknown"
    title = "There is no such version"


def _unchanged(document: Document) -> Document:
    return document


@dataclass(frozen=True)
class ApiVersion:
    """One shape of bodies."""

    name: str
    #: What it changed, for whoever thinks about changing to it.
    description: str
    #: From a document of this version to one of the version before; it changes no
    #: value that it was given.
    undo: Callable[[Document], Document] = _unchanged


#: The oldest first.
VERSIONS: tuple[ApiVersion, ...] = (ApiVersion("2026-11-01", "The first."),)


def latest() -> str:
    """Return the version in which events are told."""
    return VERSIONS[-1].name


def checked(version: str) -> str:
    """
    Return the version.

    Raises: ApiVersionUnknown.
    """
    names = [one.name for one in VERSIONS]
    if version not in names:
        raise ApiVersionUnknown(f"api_version: one of {', '.join(names)}.")
    return version


def render(version: str, document: Document) -> Document:
    """Return a document of the newest version in the shape of an older one."""
    for one in reversed(VERSIONS):
        if one.name <= version:
            break
        document = one.undo(document)
    return document
