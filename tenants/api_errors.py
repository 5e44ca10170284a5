"""Answering an error raised in an API view as a problem document."""

from http import HTTPStatus
from typing import Any

from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from tenants.problems import PROBLEM_TYPE, Problem, problem


def problem_response(error: Exception, context: dict[str, Any]) -> Response | None:
    """Answer an error raised in an API view; None leaves it to Django."""
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    if isinstance(error, Problem):
        body = problem(
            status=error.status, code=error.code, title=error.title, detail=str(error)
        )
        headers: dict[str, str] = {}
    elif isinstance(error, exceptions.APIException):
        body, headers = _framework_problem(error)
    else:
        return None
    set_rollback()
    return Response(
        body, status=body["status"], headers=headers, content_type=PROBLEM_TYPE
    )


def _framework_problem(
    error: exceptions.APIException,
) -> tuple[dict[str, Any], dict[str, str]]:
    headers = {}
    if header := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = header
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(int(wait))
    extra: dict[str, Any] = {}
    if isinstance(error, exceptions.ValidationError):
        extra["errors"] = error.detail
        detail = _first_error(error.detail)
        code = "invalid"
    else:
        detail = str(error.detail)
        codes = error.get_codes()
        code = codes if isinstance(codes, str) else "error"
    body = problem(
        status=error.status_code,
        code=code,
        title=HTTPStatus(error.status_code).phrase,
        detail=detail,
        **extra,
    )
    return body, headers


def _first_error(detail: Any) -> str:
    """Return `field: message` for the first of nested validation errors."""
    path = []
    while isinstance(detail, (dict, list)) and detail:
        if isinstance(detail, dict):
            name, detail = next(iter(detail.items()))
            path.append(str(name))
        else:
            detail = next((item for item in detail if item), "")
    where = ".".join(part for part in path if part != "non_field_errors")
    return f"{where}: {detail}" if where else str(detail)
