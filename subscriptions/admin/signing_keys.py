"""Signing keys: the tenant's own, for `v1a`; their public halves are for everybody."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from unfold.decorators import display

from subscriptions.models import SigningKey
from subscriptions.queries.signing_keys import thumbprint
from subscriptions.services.signing_keys import rotate_key
from tenants.actors import actor_of
from tenants.console.forms import ConsoleForm
from tenants.console.pages import TenantAdmin, actor_and_tenant

_HOUR_S = 3_600
_DAY_S = 86_400
_OVERLAPS = (
    (0, "The old key ends now"),
    (_HOUR_S, "One hour"),
    (_DAY_S, "One day"),
    (7 * _DAY_S, "Seven days"),
)


class KeyForm(ConsoleForm):
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
    """Signing keys."""

    add_form = KeyForm
    add_intro = "The new key signs at once; its public half is published with the old."
    detail_template = "console/signing_key.html"
    empty_title = "No signing key yet"
    empty_text = (
        "The first is made when an endpoint asks for v1a signatures, or here. Whoever "
        "has the public half can verify messages, and cannot make one."
    )
    list_display = ("public", "key_id", "created_at", "signs_until")
    ordering = ("-id",)

    @display(description="Id")
    def key_id(self, key: SigningKey) -> str:
        """Return the id in the published list."""
        return thumbprint(key.public)

    @display(description="Signs until")
    def signs_until(self, key: SigningKey) -> Any:
        """Return its end."""
        return key.expires_at or "it is replaced"

    def detail(self, request: HttpRequest, thing: SigningKey) -> dict[str, Any]:
        """Return a key, and where its public half is."""
        ends_at = thing.expires_at
        path = reverse("well-known-keys", args=[actor_of(request).tenant.slug])
        return {
            "id": thumbprint(thing.public),
            "is_ended": ends_at is not None and ends_at <= timezone.now(),
            "published_at": f"{settings.CONSOLE_URL}{path}",
        }

    def create(self, request: HttpRequest, data: dict[str, Any]) -> HttpResponse:
        """Make a key that signs from now on."""
        key = rotate_key(**actor_and_tenant(request), now=timezone.now(), **data)
        messages.success(request, "The new key signs from now on.")
        return self.to_page(key)
