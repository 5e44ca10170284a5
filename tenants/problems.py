"""Errors as callers see them: RFC 9457 problem details with a stable `code`."""

from typing import Any, ClassVar

from django.http import JsonResponse

PROBLEM_TYPE = "application/problem+json"


class Problem(Exception):
    """A domain error: its class says the code and status, its text the detail."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "invalid"
    title: ClassVar[str] = "The request cannot be carried out"


class NotFound(Problem):
    """There is no such thing in this tenant."""

    status = 404
    code = "not_found"
    title = "Not found"


class Conflict(Problem):
    """The thing is not in a state that allows this."""

    status = 409
    code = "conflict"
    title = "Conflict"


def problem(
    *, status: int, code: str, title: str, detail: str = "", **extra: Any
) -> dict[str, Any]:
    """Return the members of a problem document."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "code": code,
    }
    if detail:
        body["detail"] = detail
    return {**body, **extra}


def plain_problem(
    *, status: int, code: str, title: str, detail: str = ""
) -> JsonResponse:
    """Return a problem document from outside the API views."""
    return JsonResponse(
        problem(status=status, code=code, title=title, detail=detail),
        status=status,
        content_type=PROBLEM_TYPE,
    )
