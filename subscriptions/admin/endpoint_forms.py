"""The forms about a callback URL."""

from django import forms

from subscriptions.catalogue import CATALOGUE
from tenants.console.forms import CheckboxList, ConsoleForm


class EndpointForm(ConsoleForm):
    """A new callback URL."""

    url = forms.URLField(
        label="Callback URL",
        max_length=2048,
        assume_scheme="https",
        help_text="It is asked for its consent before the first message.",
    )
    event_types = forms.MultipleChoiceField(widget=CheckboxList)
    description = forms.CharField(
        max_length=200, required=False, help_text="What it is for, in your words."
    )

    def fill_choices(self) -> None:
        """Offer the catalogue."""
        field = self.fields["event_types"]
        field.choices = [  # type: ignore[attr-defined]
            (kind.name, f"{kind.name}: {kind.description}")
            for kind in CATALOGUE.values()
        ]
