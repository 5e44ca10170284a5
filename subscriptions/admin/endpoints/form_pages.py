"""The forms of a callback URL: each makes one service call."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import reverse

from subscriptions.admin.endpoints.action_forms import (
    PortalLinkForm,
    RotationForm,
    WindowForm,
    next_window,
)
from subscriptions.admin.endpoints.credential_forms import (
    CredentialsForm,
    credential_changes,
    credentials_shown,
)
from subscriptions.admin.endpoints.settings_forms import (
    EndpointChangeForm,
    changes_in,
    settings_shown,
)
from subscriptions.models import Endpoint
from subscriptions.queries.endpoints import portal_links, windows_ahead
from subscriptions.services import endpoints
from subscriptions.services.portal import (
    create_portal_link,
    portal_url,
    revoke_portal_link,
)
from subscriptions.services.windows import end_window, schedule_window
from tenants.actors import actor_of
from tenants.console import shown_once
from tenants.console.forms import ConsoleForm
from tenants.console.pages import TenantAdmin, actor_and_tenant, refusable
from tenants.database import console_clock

Page = tuple[str, str, Callable[..., HttpResponse]]
#: Makes the service call, and says what to tell.
Save = Callable[[dict[str, Any]], HttpResponse | str]


class EndpointPages(TenantAdmin):
    """The forms about one endpoint."""

    def more_pages(self) -> Sequence[Page]:
        """Return the forms, and the buttons of what belongs to an endpoint."""
        return (
            ("<uuid:object_id>/edit/", "edit", self.edit_view),
            ("<uuid:object_id>/credentials/", "credentials", self.credentials_view),
            ("<uuid:object_id>/rotate/", "rotate", self.rotate_view),
            ("<uuid:object_id>/windows/add/", "window", self.window_view),
            (
                "<uuid:object_id>/windows/<uuid:window_id>/end/",
                "end_window",
                self.end_window_view,
            ),
            ("<uuid:object_id>/portal-links/add/", "portal", self.portal_view),
            (
                "<uuid:object_id>/portal-links/<uuid:link_id>/revoke/",
                "revoke_link",
                self.revoke_link_view,
            ),
        )

    def ask(
        self,
        request: HttpRequest,
        thing: Endpoint,
        form: type[ConsoleForm],
        save: Save,
        **context: Any,
    ) -> HttpResponse:
        """Show a form about the endpoint, and take it."""

        def saved(data: dict[str, Any]) -> HttpResponse:
            done = save(data)
            if isinstance(done, HttpResponse):
                return done
            messages.success(request, done)
            return self.to_page(thing)

        return self.form_page(request, form, saved, thing=thing, **context)

    # --- Settings and secrets ------------------------------------------------
    def edit_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Show the form for changes, and take it."""
        thing = self.writable(request, str(object_id))

        def save(data: dict[str, Any]) -> str:
            changes = changes_in(data, thing)
            if not changes:
                return "Nothing was changed."
            endpoints.update_endpoint(
                **actor_and_tenant(request), endpoint=thing, changes=changes
            )
            if "url" in changes:
                return "The new URL is being asked for its consent."
            return "The next message goes by the new settings."

        return self.ask(
            request,
            thing,
            EndpointChangeForm,
            save,
            title=f"Change {thing}",
            initial=settings_shown(thing),
        )

    def credentials_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Show the form of what requests carry, and take it."""
        thing = self.writable(request, str(object_id))

        def save(data: dict[str, Any]) -> str:
            changes = credential_changes(data, thing)
            if not changes:
                return "Nothing was changed."
            endpoints.update_endpoint(
                **actor_and_tenant(request), endpoint=thing, changes=changes
            )
            return "The next request carries them."

        return self.ask(
            request,
            thing,
            CredentialsForm,
            save,
            title=f"Credentials of {thing}",
            intro="Secrets are kept sealed; no page shows them again.",
            initial=credentials_shown(thing),
        )

    def rotate_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Ask how long the old secret also signs, and show a new one once."""
        thing = self.writable(request, str(object_id))

        def save(data: dict[str, Any]) -> HttpResponse:
            secret = endpoints.rotate_secret(
                **actor_and_tenant(request), endpoint=thing, now=console_clock(), **data
            )
            return self.show_once(request, thing, secret)

        return self.ask(
            request,
            thing,
            RotationForm,
            save,
            title=f"New secret of {thing}",
            submit="Make it",
        )

    # --- Maintenance windows -------------------------------------------------
    def window_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Ask for a window, and plan it."""
        thing = self.writable(request, str(object_id))

        def save(data: dict[str, Any]) -> str:
            schedule_window(
                **actor_and_tenant(request), endpoint=thing, now=console_clock(), **data
            )
            return "The window is planned: messages wait in it."

        return self.ask(
            request,
            thing,
            WindowForm,
            save,
            title=f"Maintenance window of {thing}",
            intro="Messages wait, and no attempt is spent. Afterwards what waited is "
            "worked off at a bounded rate.",
            initial=next_window(),
            submit="Plan it",
        )

    def end_window_view(
        self, request: HttpRequest, object_id: UUID, window_id: UUID
    ) -> HttpResponse:
        """End a window, or call it off."""
        thing = self._pressed(request, object_id)
        if isinstance(thing, HttpResponse):
            return thing
        now = console_clock()
        windows = windows_ahead(actor_of(request).tenant, thing, now)
        window = windows.filter(pk=window_id).first()
        if window is None:
            raise Http404("There is no such window.")

        def end() -> None:
            end_window(**actor_and_tenant(request), window=window, now=now)
            messages.success(request, "The window is over.")

        refusable(request, end)
        return self.to_page(thing)

    # --- Portal links --------------------------------------------------------
    def portal_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Ask for whom a link is, and show it once."""
        thing = self.writable(request, str(object_id))

        def save(data: dict[str, Any]) -> HttpResponse:
            _, token = create_portal_link(
                **actor_and_tenant(request), endpoint=thing, now=console_clock(), **data
            )
            shown_once.keep(request.session, _link_name(thing), portal_url(token))
            return self.to_page(thing)

        return self.ask(
            request,
            thing,
            PortalLinkForm,
            save,
            title=f"Portal link to {thing}",
            intro="Whoever has the link sees this endpoint's deliveries, and can send "
            "again, send a test and make a new secret. It opens nothing else.",
            submit="Make it",
        )

    def take_link(self, request: HttpRequest, thing: Endpoint) -> str | None:
        """Return the link that was made just now; null: it was shown before."""
        return shown_once.take(request.session, _link_name(thing))

    def revoke_link_view(
        self, request: HttpRequest, object_id: UUID, link_id: UUID
    ) -> HttpResponse:
        """End a link at once."""
        thing = self._pressed(request, object_id)
        if isinstance(thing, HttpResponse):
            return thing
        now = console_clock()
        links = portal_links(actor_of(request).tenant, thing, now)
        link = links.filter(pk=link_id).first()
        if link is None:
            raise Http404("There is no such link.")

        def revoke() -> None:
            revoke_portal_link(**actor_and_tenant(request), link=link, now=now)
            messages.success(request, "The link opens nothing any more.")

        refusable(request, revoke)
        return self.to_page(thing)

    # --- Ways between --------------------------------------------------------
    def _pressed(
        self, request: HttpRequest, object_id: UUID
    ) -> Endpoint | HttpResponseNotAllowed:
        """Return the endpoint that a button was pressed for, by POST alone."""
        thing: Endpoint = self.writable(request, str(object_id))
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        return thing

    def link_to(
        self, thing: Endpoint, name: str, icon: str, label: str
    ) -> dict[str, str]:
        """Return the link to one of the forms."""
        href = reverse(f"admin:{self._url_name(name)}", args=[thing.pk])
        return {"href": href, "icon": icon, "label": label}


def _link_name(thing: Endpoint) -> str:
    return f"portal-link:{thing.pk}"
