"""Every URL of the console and the API."""

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import DisallowedHost, RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.decorators.csrf import csrf_exempt
from django.views.defaults import bad_request, page_not_found, server_error
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from subscriptions.views import well_known
from tenants.middleware import API_PREFIX
from tenants.problems import plain_problem


@csrf_exempt
def nowhere(request: HttpRequest) -> HttpResponse:
    """Answer a path that names nothing."""
    raise Http404


api: list[URLPattern | URLResolver] = [
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("", include("ingest.urls")),
    path("", include("subscriptions.urls")),
    path("", include("billing.urls")),
]
urlpatterns = [
    # No name has a U+0000, and PostgreSQL refuses to look for one.
    re_path("\0", nowhere),
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("api/v1/", include(api)),
    path("portal/", include("subscriptions.portal.urls")),
    path(
        ".well-known/gridhook/<slug:tenant>/keys.json",
        well_known.keys,
        name="well-known-keys",
    ),
]


def refused(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer what cannot be read: the API in its own form, people in theirs."""
    if not request.path_info.startswith(API_PREFIX):
        return bad_request(request, exception)
    if isinstance(exception, RequestDataTooBig):
        return plain_problem(
            status=413,
            code="body_too_large",
            title="The body is too large",
            detail=f"It has {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes at most.",
        )
    detail = ""
    if isinstance(exception, DisallowedHost):
        detail = (
            "The console does not answer to this host name; GRIDHOOK_ALLOWED_HOSTS "
            "lists those it does."
        )
    return plain_problem(
        status=400,
        code="bad_request",
        title="The request cannot be read",
        detail=detail,
    )


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a path that is none: the API in its own form, people in theirs."""
    if request.path_info.startswith(API_PREFIX):
        return plain_problem(
            status=404,
            code="not_found",
            title="Not found",
            detail="There is no such path. The paths are listed at /api/v1/docs/.",
        )
    return page_not_found(request, exception)


def failed(request: HttpRequest) -> HttpResponse:
    """Answer a request that the code could not carry out."""
    if request.path_info.startswith(API_PREFIX):
        return plain_problem(
            status=500, code="server_error", title="The server failed; try again"
        )
    return server_error(request)


handler400 = "config.urls.refused"
handler404 = "config.urls.not_found"
handler500 = "config.urls.failed"
