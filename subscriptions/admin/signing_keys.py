"""Signing keys: the tenant's own, for `v1a`; their public halves are for everybody."""

from collections.abc import Callable, Sequence
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from unfold.decorators import display

from subscriptions.models import SigningKey
from subscriptions.services.signing_keys import rotate_key, thumbprint
from tenants.actors import actor_of
from tenants.console.forms import ConsoleForm
from tenants.console.pages import TenantAdmin, actor_and_tenant

_DAY_S = 86_400
_OVERLAPS = (
    (0, "The old key ends now"),
    (_DAY_S, "One day"),
    (7 * _DAY_S, "Seven days"),
)


class KeyRotationForm(ConsoleForm):
    """A new signing key."""

    overlap_s = forms.TypedChoiceField(
        label="The old key also signs for",
        choices=_OVERLAPS,
        coerce=int,
        initial=_DAY_S,
        help_text="Receivers that keep the public keys need time to fetch the new one.",
    )


@admin.register(SigningKey)
class SigningKeyAdmin(TenantAdmin):
    """Signing keys that are in force."""

    list_before_template = "console/signing_keys.html"  # type: ignore[assignment]  # unfold's default is None
    empty_title = "No signing key yet"
    empty_text = (
        "The first is made when an endpoint asks for v1a signatures among its "
        "credentials, or here."
    )
    list_display = ("public", "key_id", "created_at", "signs_until")
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[SigningKey]:
        """Return the keys that sign."""
        rows: QuerySet[SigningKey] = super().get_queryset(request)
        return rows.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))

    @display(description="Id")
    def key_id(self, key: SigningKey) -> str:
        """Return the id in the published list."""
        return thumbprint(key.public)

    @display(description="Signs until")
    def signs_until(self, key: SigningKey) -> Any:
        """Return its end."""
        return key.expires_at or "the next one is made"

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Show the list under where it is published."""
        slug = actor_of(request).tenant.slug
        context = {
            "may_write": self.may_write(request),
            "published_at": f"{settings.CONSOLE_URL}/.well-known/gridhook/{slug}/keys.json",
            "rotate_url": reverse("admin:subscriptions_signingkey_rotate"),
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def detail(self, request: HttpRequest, thing: SigningKey) -> dict[str, Any]:
        """Return the public half."""
        facts = (
            ("Public key", thing.public),
            ("Id", thumbprint(thing.public)),
            ("Made", thing.created_at),
            ("Signs until", self.signs_until(thing)),
        )
        return {"facts": facts}

    def more_pages(self) -> Sequence[tuple[str, str, Callable[..., HttpResponse]]]:
        """Return the form for a new key."""
        return (("rotate/", "rotate", self.rotate_view),)

    def rotate_view(self, request: HttpRequest) -> HttpResponse:
        """
        Ask how long the old key also signs, and make a new one.

        Raises: PermissionDenied.
        """
        if not self.may_write(request):
            raise PermissionDenied

        def save(data: dict[str, Any]) -> HttpResponse:
            rotate_key(**actor_and_tenant(request), now=timezone.now(), **data)
            messages.success(request, "The new key signs from now on.")
            return self.to_list()

        return self.form_page(
            request, KeyRotationForm, save, title="New signing key", submit="Make it"
        )
