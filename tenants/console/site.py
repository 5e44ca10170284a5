"""The console's site: for people of a tenant, with pages that are walled by tenant."""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar, cast

from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template.response import SimpleTemplateResponse
from django.utils import timezone
from unfold.sites import UnfoldAdminSite

from tenants.console.pages import TenantAdmin
from tenants.console.sign_in import is_guessing

View = TypeVar("View", bound=Callable[..., HttpResponseBase])


class ConsoleSite(UnfoldAdminSite):
    """Only pages built on `TenantAdmin` are let in; others have no wall."""

    site_header = site_title = "Gridhook"
    index_title = "Dashboard"
    enable_nav_sidebar = True

    def register(
        self,
        model_or_iterable: type[Model] | Iterable[type[Model]],
        admin_class: type[Any] | None = None,
        **options: Any,
    ) -> None:
        """Take a page; Django's own, for groups, is passed over."""
        if admin_class is not None and issubclass(admin_class, TenantAdmin):
            super().register(model_or_iterable, admin_class, **options)

    def has_permission(self, request: HttpRequest) -> bool:
        """Tell whether the person works for a tenant."""
        if getattr(request, "actor", None) is None:
            return False
        return bool(super().has_permission(request))

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Let a person sign in; nobody may guess for long."""
        if is_guessing(request):
            reply = render(request, "429.html", status=429)
            reply["Retry-After"] = "60"
            return reply
        return super().login(request, extra_context)

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        """Show every page's times in the tenant's zone."""
        inner = super().admin_view(view, cacheable)

        @wraps(inner)
        def in_zone(
            request: HttpRequest, *args: Any, **kwargs: Any
        ) -> HttpResponseBase:
            actor = getattr(request, "actor", None)
            with timezone.override(actor.tenant.zone if actor else None):
                reply = inner(request, *args, **kwargs)
                if isinstance(reply, SimpleTemplateResponse):
                    reply.render()
            return reply

        return cast("View", in_zone)
