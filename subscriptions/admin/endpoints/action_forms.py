"""The forms of what is done once with a callback URL."""

from datetime import timedelta
from typing import Any

from django import forms
from django.utils import timezone

from subscriptions.services.redelivering import RATE_LIMIT_PER_S
from tenants.console.forms import ConsoleForm, MomentInput

_HOUR_S = 3_600
_DAY_S = 86_400
_OVERLAPS = (
    (0, "The old one ends now"),
    (_HOUR_S, "One hour"),
    (_DAY_S, "One day"),
    (3 * _DAY_S, "Three days"),
    (7 * _DAY_S, "Seven days"),
)
_LIFETIMES = (
    (_HOUR_S, "One hour"),
    (8 * _HOUR_S, "Eight hours"),
    (_DAY_S, "One day"),
    (7 * _DAY_S, "Seven days"),
)
_RATE_HELP = "So that the receiver is not flooded; what is new goes first."
#: How far back the forms look when they are opened.
_LOOK_BACK = timedelta(days=7)


def _moment(label: str, help_text: str = "") -> forms.DateTimeField:
    return forms.DateTimeField(label=label, widget=MomentInput(), help_text=help_text)


def _rate() -> forms.IntegerField:
    return forms.IntegerField(
        label="Messages a second at most",
        initial=100,
        min_value=1,
        max_value=RATE_LIMIT_PER_S,
        help_text=_RATE_HELP,
    )


class RotationForm(ConsoleForm):
    """A new signing secret."""

    overlap_s = forms.TypedChoiceField(
        label="The old secret also signs for",
        choices=_OVERLAPS,
        coerce=int,
        initial=_DAY_S,
        help_text="Meanwhile each message carries a signature by each of them.",
    )


class WindowForm(ConsoleForm):
    """A maintenance window."""

    start_at = _moment("From")
    end_at = _moment("Until")
    reason = forms.CharField(max_length=200, required=False)


class PortalLinkForm(ConsoleForm):
    """A way in for a subscriber's engineer."""

    note = forms.CharField(
        label="For whom",
        max_length=200,
        help_text="It is what the audit trail says of whatever the link does.",
    )
    lifetime_s = forms.TypedChoiceField(
        label="It opens the portal for", choices=_LIFETIMES, coerce=int, initial=_DAY_S
    )


class RecoverForm(ConsoleForm):
    """Sending again what was given up."""

    since = _moment("Given up since", "At most 400 days ago.")
    rate_per_s = _rate()


class ReplayForm(ConsoleForm):
    """Sending again what was sent."""

    device = forms.CharField(
        max_length=255, required=False, help_text="Empty: of every device."
    )
    since = _moment("Published from", "At most 400 days ago.")
    until = _moment("Until")
    rate_per_s = _rate()


class DiscardForm(ConsoleForm):
    """Why messages are given up for good."""

    reason = forms.CharField(
        max_length=200, help_text="It stays with them and in the audit trail."
    )


def next_window() -> dict[str, Any]:
    """Return two hours from the next full hour on."""
    hour = timezone.localtime().replace(minute=0, second=0, microsecond=0)
    start_at = hour + timedelta(hours=1)
    return {"start_at": start_at, "end_at": start_at + timedelta(hours=2)}


def last_week() -> dict[str, Any]:
    """Return the week that ends now; with the minute that is not over."""
    now = timezone.localtime()
    return {"since": now - _LOOK_BACK, "until": now + timedelta(minutes=1)}
