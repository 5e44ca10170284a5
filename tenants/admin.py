"""People, API keys and the audit trail."""

import json
from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.password_validation import (
    password_validators_help_text_html,
    validate_password,
)
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from unfold.decorators import display

from tenants.console.forms import ConsoleForm
from tenants.console.pages import Button, TenantAdmin, actor_and_tenant
from tenants.models import ApiKey, AuditEntry, Membership, Role
from tenants.services import add_person, create_api_key, revoke_api_key

_ROLE_HELP = (
    "Admins do everything; clerks bill and report; auditors read, and change nothing."
)


class PersonForm(ConsoleForm):
    """A new person."""

    email = forms.EmailField(label="E-mail address")
    role = forms.ChoiceField(choices=Role.choices, help_text=_ROLE_HELP)
    password = forms.CharField(
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=password_validators_help_text_html(),
    )

    def clean_password(self) -> str:
        """Refuse a password that is easily guessed."""
        password: str = self.cleaned_data["password"]
        validate_password(password)
        return password


@admin.register(Membership)
class PersonAdmin(TenantAdmin):
    """Who signs in to this tenant's console."""

    add_form = PersonForm
    list_display = ("email", "role", "created_at")
    list_select_related = ("user",)
    search_fields = ("user__email",)
    ordering = ("id",)

    @display(description="E-mail address")
    def email(self, person: Membership) -> str:
        """Return whom the row is about."""
        return str(person.user.email)

    def detail(self, request: HttpRequest, thing: Membership) -> dict[str, Any]:
        """Return what is known of a person."""
        return {
            "facts": [
                ("E-mail address", thing.user.email),
                ("Role", thing.get_role_display()),
                ("Added", thing.created_at),
                ("Last signed in", thing.user.last_login),
            ]
        }

    def create(self, request: HttpRequest, data: dict[str, Any]) -> HttpResponse:
        """Add a person."""
        add_person(
            **actor_and_tenant(request),
            email=data["email"],
            password=data["password"],
            role=Role(data["role"]),
        )
        messages.success(request, f"{data['email']} can sign in now.")
        return self.to_list()


class ApiKeyForm(ConsoleForm):
    """A new key."""

    name = forms.CharField(max_length=100, help_text="What will use it.")
    role = forms.ChoiceField(choices=Role.choices, help_text=_ROLE_HELP)


@admin.register(ApiKey)
class ApiKeyAdmin(TenantAdmin):
    """Bearer keys of the API."""

    add_form = ApiKeyForm
    detail_template = "console/api_key.html"
    empty_text = "A key lets a program use the API in this tenant's name."
    list_display = ("name", "role", "shown_prefix", "state", "created_at")
    ordering = ("-id",)

    @display(description="Begins with")
    def shown_prefix(self, key: ApiKey) -> str:
        """Return what tells keys apart."""
        return f"{key.prefix}…"

    @display(
        description="Status",
        label={"In force": "success", "Revoked": "danger"},
    )
    def state(self, key: ApiKey) -> str:
        """Return whether the key works."""
        return "Revoked" if key.revoked_at else "In force"

    def detail(self, request: HttpRequest, thing: ApiKey) -> dict[str, Any]:
        """Return what is known of a key."""
        return {
            "secret_title": "The key",
            "facts": [
                ("Name", thing.name),
                ("Role", thing.get_role_display()),
                ("Begins with", f"{thing.prefix}…"),
                ("Created", thing.created_at),
                ("Revoked", thing.revoked_at),
            ],
        }

    def buttons(self, request: HttpRequest, thing: ApiKey) -> Sequence[Button]:
        """Return revoking, while there is something to revoke."""
        if thing.revoked_at:
            return ()
        question = "Revoke this key? Programs that use it stop working at once."
        return (Button("revoke", "Revoke", "block", "danger", question),)

    def do_revoke(self, request: HttpRequest, thing: ApiKey) -> None:
        """End a key."""
        revoke_api_key(**actor_and_tenant(request), key=thing, now=timezone.now())
        messages.success(request, f"{thing.name} is revoked.")

    def create(self, request: HttpRequest, data: dict[str, Any]) -> HttpResponse:
        """Create a key, and show it once."""
        key, token = create_api_key(
            **actor_and_tenant(request), name=data["name"], role=Role(data["role"])
        )
        return self.show_once(request, key, token)


@admin.register(AuditEntry)
class AuditAdmin(TenantAdmin):
    """Who changed what, when, from where."""

    list_display = ("at", "actor", "action", "subject", "address")
    list_display_links = ("action",)
    search_fields = ("actor", "action", "subject")
    ordering = ("-at",)

    def detail(self, request: HttpRequest, thing: AuditEntry) -> dict[str, Any]:
        """Return an entry."""
        return {
            "facts": [
                ("When", thing.at),
                ("Who", thing.actor),
                ("From", thing.address),
                ("What", thing.action),
                ("Of", thing.subject),
                ("Detail", json.dumps(thing.detail, ensure_ascii=False)),
            ]
        }
