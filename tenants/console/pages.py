"""
The page that lists and shows one kind of thing of the actor's tenant.

A list, a page for each thing with buttons, and a form for a new one. Buttons and forms
POST, and each makes one service call; nothing is ever written past the services, and
the audit trail is theirs. What the actor's role may not do answers 403, what is another
tenant's 404. Source: docs/explanation/tenancy.md
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from django.contrib import messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.text import capfirst
from unfold.admin import ModelAdmin
from unfold.paginator import InfinitePaginator

from tenants.actors import Actor, actor_of
from tenants.console import shown_once
from tenants.console.forms import ConsoleForm
from tenants.models import Role
from tenants.problems import Problem

EVERYONE = frozenset(Role)
ADMINS = frozenset({Role.ADMIN})
ADMINS_AND_AUDITORS = frozenset({Role.ADMIN, Role.AUDITOR})
ADMINS_AND_CLERKS = frozenset({Role.ADMIN, Role.CLERK})


@dataclass(frozen=True)
class Button:
    """Something to do with a thing: POSTs to its page's method `do_<name>`."""

    name: str
    label: str
    icon: str = "bolt"
    variant: str = "default"
    #: What the browser asks first; empty: nothing.
    confirm: str = ""
    #: The part of the page that it stands in; empty: above all of them.
    place: str = ""


class TenantAdmin(ModelAdmin):
    """The list, the detail page and the form of one model."""

    read_roles: ClassVar[frozenset[Role]] = ADMINS_AND_AUDITORS
    write_roles: ClassVar[frozenset[Role]] = ADMINS
    add_form: ClassVar[type[ConsoleForm] | None] = None
    add_intro: ClassVar[str] = ""
    detail_template: ClassVar[str] = "console/detail.html"
    #: What an empty list says, and what to do about it.
    empty_title: ClassVar[str] = "Nothing here yet"
    empty_text: ClassVar[str] = ""
    #: What links to the list narrow it by, beside its filters.
    linked_by: ClassVar[frozenset[str]] = frozenset()
    #: The path from the model to the tenant.
    tenant_field: ClassVar[str] = "tenant"

    actions = None
    list_per_page = 50
    show_full_result_count = False
    paginator = InfinitePaginator

    # --- Who may -------------------------------------------------------------
    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tell whether the role reads these pages."""
        return _role(request) in self.read_roles

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Tell whether the role reads these pages."""
        return self.has_view_permission(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tell whether the role adds one here."""
        return self.add_form is not None and self.may_write(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse Django's own change form: services write."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse Django's own delete form: services write."""
        return False

    def may_write(self, request: HttpRequest) -> bool:
        """Tell whether the role presses buttons here."""
        return _role(request) in self.write_roles

    # --- What is there -------------------------------------------------------
    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the actor's tenant's rows: the first wall; Postgres is the second."""
        mine = {self.tenant_field: actor_of(request).tenant}
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.filter(**mine)

    def lookup_allowed(
        self, lookup: str, value: str, request: HttpRequest | None = None
    ) -> bool:
        """Let lists be narrowed by what they offer: not by columns no page shows."""
        offered = {getattr(one, "parameter_name", one) for one in self.list_filter}
        return lookup.removesuffix("__exact") in offered | self.linked_by

    def own_object(self, request: HttpRequest, object_id: str) -> Any:
        """
        Return the tenant's thing of this id.

        Raises: PermissionDenied, Http404.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied
        thing = self.get_object(request, object_id)
        if thing is None:
            raise Http404(f"There is no such {self.opts.verbose_name}.")
        return thing

    def writable(self, request: HttpRequest, object_id: str) -> Any:
        """
        Return the tenant's thing of this id, for changing it.

        Raises: PermissionDenied, Http404.
        """
        thing = self.own_object(request, object_id)
        if not self.may_write(request):
            raise PermissionDenied
        return thing

    def detail(self, request: HttpRequest, thing: Any) -> dict[str, Any]:
        """Return what the detail page shows of the thing."""
        return {}

    def buttons(self, request: HttpRequest, thing: Any) -> Sequence[Button]:
        """Return what can be done with the thing as it stands."""
        return ()

    def create(self, request: HttpRequest, data: dict[str, Any]) -> HttpResponse:
        """Make the service call of the form for a new one."""
        raise NotImplementedError

    # --- Pages ---------------------------------------------------------------
    def get_urls(self) -> list[URLPattern]:
        """Return the pages; Django's change, delete and history forms are not."""
        wrap = self.admin_site.admin_view
        return [
            path("", wrap(self.changelist_view), name=self._url_name("changelist")),
            path("add/", wrap(self.add_view), name=self._url_name("add")),
            *(
                path(route, wrap(view), name=self._url_name(name))
                for route, name, view in self.more_pages()
            ),
            path(
                "<path:object_id>/do/<slug:button>/",
                wrap(self.button_view),
                name=self._url_name("do"),
            ),
            path(
                "<path:object_id>/change/",
                wrap(self.change_view),
                name=self._url_name("change"),
            ),
        ]

    def more_pages(self) -> Sequence[tuple[str, str, Callable[..., HttpResponse]]]:
        """Return further pages: route, name, view."""
        return ()

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """
        Show the list.

        Raises: BadRequest: a filter holds U+0000, which Postgres has no place for.
        """
        if "%00" in request.META.get("QUERY_STRING", ""):
            raise BadRequest
        title = capfirst(str(self.opts.verbose_name_plural))
        context = {"title": title, **(extra_context or {})}
        return super().changelist_view(request, context)

    def add_view(
        self,
        request: HttpRequest,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the form for a new one, and take it."""
        if self.add_form is None or not self.has_add_permission(request):
            raise PermissionDenied
        return self.form_page(
            request,
            self.add_form,
            lambda data: self.create(request, data),
            title=f"Add {self.opts.verbose_name}",
            intro=self.add_intro,
        )

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show one."""
        thing = self.own_object(request, object_id)
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET"])
        buttons = self.buttons(request, thing) if self.may_write(request) else ()
        return self.page(
            request,
            self.detail_template,
            title=str(thing),
            thing=thing,
            original=thing,
            buttons=buttons,
            secret=shown_once.take(request.session, self._secret_name(thing)),
            **self.detail(request, thing),
        )

    def button_view(
        self, request: HttpRequest, object_id: str, button: str
    ) -> HttpResponse:
        """Do what a button says, and go back to the page."""
        thing = self.writable(request, object_id)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if button not in {known.name for known in self.buttons(request, thing)}:
            messages.error(request, "This cannot be done as it stands now.")
            return self.to_page(thing)
        reply: HttpResponse | None = refusable(
            request, lambda: getattr(self, f"do_{button}")(request, thing)
        )
        return reply or self.to_page(thing)

    def form_page(
        self,
        request: HttpRequest,
        form_class: type[ConsoleForm],
        save: Callable[[dict[str, Any]], HttpResponse],
        **context: Any,
    ) -> HttpResponse:
        """
        Show a form; when it is sent and right, make its service call.

        `context`: with `thing`, the form is about that; else about a new one.
        """
        initial = context.pop("initial", None)
        data = request.POST if request.method == "POST" else None
        form = form_class(data, actor=actor_of(request), initial=initial)
        if form.is_valid():
            try:
                with transaction.atomic():
                    return save(form.cleaned_data)
            except Problem as problem:
                form.refuse(problem)
        back = self.to_page(context["thing"]) if "thing" in context else self.to_list()
        return self.page(
            request, "console/form.html", form=form, back=back.url, **context
        )

    def page(
        self, request: HttpRequest, template: str, **context: Any
    ) -> TemplateResponse:
        """Return a page in the console's frame."""
        request.current_app = self.admin_site.name
        return TemplateResponse(
            request,
            template,
            {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "actor": actor_of(request),
                "may_write": self.may_write(request),
                "do_url_name": f"admin:{self._url_name('do')}",
                **context,
            },
        )

    def form_link(
        self, request: HttpRequest, thing: Model, name: str, icon: str, label: str
    ) -> list[dict[str, str]]:
        """Return the link to a form about the thing, for who may send it."""
        if not self.may_write(request):
            return []
        href = reverse(f"admin:{self._url_name(name)}", args=[thing.pk])
        return [{"href": href, "icon": icon, "label": label}]

    # --- Ways between --------------------------------------------------------
    def to_page(self, thing: Model) -> HttpResponseRedirect:
        """Go to the thing's page."""
        return HttpResponseRedirect(
            reverse(f"admin:{self._url_name('change')}", args=[thing.pk])
        )

    def to_list(self) -> HttpResponseRedirect:
        """Go to the list."""
        return HttpResponseRedirect(reverse(f"admin:{self._url_name('changelist')}"))

    def show_once(
        self, request: HttpRequest, thing: Model, secret: str
    ) -> HttpResponseRedirect:
        """Go to the thing's page, which shows the secret this once."""
        shown_once.keep(request.session, self._secret_name(thing), secret)
        return self.to_page(thing)

    def _secret_name(self, thing: Model) -> str:
        return f"{self.opts.label_lower}:{thing.pk}"

    def _url_name(self, page: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{page}"


def _role(request: HttpRequest) -> Role | None:
    """Return the role of who asks; None on the page for signing in."""
    actor: Actor | None = getattr(request, "actor", None)
    return actor.role if actor else None


def refusable(
    request: HttpRequest, call: Callable[[], HttpResponse | None]
) -> HttpResponse | None:
    """Make a service call; what it refuses becomes a message and changes nothing."""
    try:
        with transaction.atomic():
            return call()
    except Problem as problem:
        messages.error(request, str(problem) or problem.title)
        return None


def actor_and_tenant(request: HttpRequest) -> dict[str, Any]:
    """Return the first two arguments of every service."""
    actor: Actor = actor_of(request)
    return {"tenant": actor.tenant, "actor": actor}
