"""The form of what an endpoint's requests carry; secrets are written, never shown."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from subscriptions.models import Endpoint
from subscriptions.services.endpoints.settings import EXTRA_SIGNATURES
from tenants.console.forms import CheckboxList, ConsoleForm, FieldGroup

_SIGNATURES = {
    "v1a": "v1a: Ed25519, verified by the published key of your utility",
    "stripe": "stripe: Stripe-Signature, for verifiers that know that scheme",
}
_KEEP = "Empty: what is kept stays."
_SECRET = {"rows": 4, "autocomplete": "off", "spellcheck": "false"}


class SealedText(forms.Textarea):
    """A text that no page shows, not even the one that it was typed into."""

    def format_value(self, value: Any) -> str:
        """Return nothing."""
        return ""


def _sealed(label: str, help_text: str) -> forms.CharField:
    return forms.CharField(
        label=label,
        required=False,
        widget=SealedText(attrs=_SECRET),
        help_text=f"{help_text} {_KEEP}",
    )


def _removal(label: str) -> forms.BooleanField:
    return forms.BooleanField(label=label, required=False)


class CredentialsForm(ConsoleForm):
    """Signatures, custom headers, client certificate and OAuth 2."""

    problem_fields = {"client_certificate": "certificate", "oauth2": "token_url"}
    field_groups = (
        FieldGroup("Signatures beside v1", ("extra_signatures",)),
        FieldGroup(
            "Custom headers",
            ("headers", "remove_headers"),
            "All of them at once: what is given replaces what is kept.",
        ),
        FieldGroup("Client certificate", ("certificate", "key", "remove_certificate")),
        FieldGroup(
            "OAuth 2 client credentials",
            ("token_url", "client_id", "client_secret", "scope", "remove_oauth2"),
            "A token is asked for before it is needed, and sent as Authorization.",
        ),
    )

    extra_signatures = forms.MultipleChoiceField(
        label="Also sign by",
        widget=CheckboxList,
        required=False,
        choices=[(name, _SIGNATURES[name]) for name in EXTRA_SIGNATURES],
    )
    headers = _sealed("Headers", "One a line, as Name: value.")
    remove_headers = _removal("Remove the custom headers")
    certificate = _sealed("Certificate", "PEM, with the chain behind it.")
    key = _sealed("Key", "PEM, without a passphrase.")
    remove_certificate = _removal("Remove the client certificate")
    token_url = forms.URLField(
        label="Token URL", max_length=2048, required=False, assume_scheme="https"
    )
    client_id = forms.CharField(label="Client id", max_length=255, required=False)
    client_secret = forms.CharField(
        max_length=1024,
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_KEEP,
    )
    scope = forms.CharField(max_length=500, required=False)
    remove_oauth2 = _removal("Remove OAuth 2")

    def clean_headers(self) -> dict[str, str]:
        """Return the headers, one of each line."""
        found: dict[str, str] = {}
        for line in self.cleaned_data["headers"].splitlines():
            name, colon, value = line.partition(":")
            if not line.strip():
                continue
            if not colon or name.strip() in found:
                # The line itself is not repeated: it may hold a secret.
                raise ValidationError("Each line is Name: value, each name once.")
            found[name.strip()] = value.strip()
        return found


def credentials_shown(endpoint: Endpoint) -> dict[str, Any]:
    """Return what the form begins with: no secret is in it."""
    return {
        "extra_signatures": endpoint.extra_signatures,
        "token_url": endpoint.oauth2_token_url,
        "client_id": endpoint.oauth2_client_id,
        "scope": endpoint.oauth2_scope,
    }


def credential_changes(data: dict[str, Any], endpoint: Endpoint) -> dict[str, Any]:
    """Return what the form says otherwise than it is, by the names of the API."""
    changes: dict[str, Any] = {}
    if set(data["extra_signatures"]) != set(endpoint.extra_signatures):
        changes["extra_signatures"] = data["extra_signatures"]
    if data["remove_headers"] and endpoint.header_names:
        changes["headers"] = None
    elif data["headers"]:
        changes["headers"] = data["headers"]
    if data["remove_certificate"] and endpoint.certificate_subject:
        changes["client_certificate"] = None
    elif data["certificate"] or data["key"]:
        changes["client_certificate"] = {
            name: data[name] for name in ("certificate", "key")
        }
    return changes | _oauth2_changes(data, endpoint)


def _oauth2_changes(data: dict[str, Any], endpoint: Endpoint) -> dict[str, Any]:
    kept = credentials_shown(endpoint)
    names = ("token_url", "client_id", "scope")
    if data["remove_oauth2"]:
        return {"oauth2": None} if endpoint.oauth2_token_url else {}
    if not data["client_secret"] and all(data[name] == kept[name] for name in names):
        return {}
    wanted = {name: data[name] for name in (*names, "client_secret") if data[name]}
    return {"oauth2": wanted}
