"""The forms about a callback URL: a new one, and what can be changed about one."""

from collections.abc import Iterator
from typing import Any

from django import forms

from subscriptions.api_versions import VERSIONS
from subscriptions.catalogue import CATALOGUE, EVERY_TYPE, patterns_for
from subscriptions.models import Endpoint, Payload
from subscriptions.queries.endpoints import device_groups_of
from tenants.console.forms import CheckboxList, ConsoleForm, FieldGroup

#: Dimensions of the filters that are typed, one value a line.
_TYPED = ("devices", "channels", "commodities", "sources")
_LIST = {"rows": 3}


def _lines(label: str, help_text: str) -> forms.CharField:
    """Return a field of one value a line."""
    return forms.CharField(
        label=label,
        required=False,
        strip=False,
        widget=forms.Textarea(attrs=_LIST),
        help_text=help_text,
    )


def _split(text: str) -> list[str]:
    """Return the lines that are not blank, each once."""
    return list(
        dict.fromkeys(line.strip() for line in text.splitlines() if line.strip())
    )


def event_type_choices() -> Iterator[tuple[str, str]]:
    """Return all that can be asked for: everything, groups, and each type."""
    yield EVERY_TYPE, f"{EVERY_TYPE}: everything, and whatever is added later"
    offered: set[str] = set()
    for kind in CATALOGUE.values():
        for pattern in sorted(patterns_for(kind.name) - {EVERY_TYPE, kind.name}):
            if pattern not in offered:
                offered.add(pattern)
                yield pattern, f"{pattern}: all of these, and what is added to them"
        yield kind.name, f"{kind.name}: {kind.description.replace('`', '')}"


class EndpointForm(ConsoleForm):
    """A new callback URL."""

    url = forms.URLField(
        label="Callback URL",
        max_length=2048,
        assume_scheme="https",
        help_text="It is asked for its consent before the first message.",
    )
    description = forms.CharField(
        max_length=200, required=False, help_text="What it is for, in your words."
    )
    event_types = forms.MultipleChoiceField(
        widget=CheckboxList,
        help_text="All else about it can be set on its page.",
    )

    def fill_choices(self) -> None:
        """Offer the catalogue."""
        self.fields["event_types"].choices = list(event_type_choices())  # type: ignore[attr-defined]


class EndpointChangeForm(EndpointForm):
    """What can be changed about a callback URL, but its credentials."""

    field_groups = (
        FieldGroup(
            "Where",
            ("url", "description"),
            "Another URL is asked for its consent; until it gives it, messages go to "
            "the one in force.",
        ),
        FieldGroup("What it hears of", ("event_types",)),
        FieldGroup(
            "Only what is about",
            ("devices", "device_groups", "channels", "commodities", "sources"),
            "Empty: all. A name that ends in * stands for all that begin so.",
        ),
        FieldGroup(
            "How it is told",
            (
                "payload",
                "api_version",
                "ordered",
                "batch_size",
                "batch_wait_s",
                "manifest",
            ),
        ),
        FieldGroup(
            "Pace", ("max_rate_per_min", "max_concurrency", "drain_rate_per_min")
        ),
    )

    devices = _lines("Devices", "One a line, such as WM-1001 or WM-*.")
    device_groups = forms.MultipleChoiceField(widget=CheckboxList, required=False)
    channels = _lines("Channels", "One a line, such as 1-0:1.8.0.")
    commodities = _lines("Commodities", "One a line, such as electricity or water.")
    sources = _lines(
        "Sources",
        "Their ids, one a line; each source's page shows its. Alarms come from none.",
    )
    payload = forms.ChoiceField(choices=Payload.choices)
    api_version = forms.ChoiceField(
        label="API version", help_text="The shape of bodies that it was built for."
    )
    ordered = forms.BooleanField(
        label="In order by device",
        required=False,
        help_text="The next message about a device waits until the one before has "
        "been accepted or given up; other devices' messages flow.",
    )
    batch_size = forms.IntegerField(
        label="Messages in one request at most",
        min_value=1,
        help_text="1: each message is its own request.",
    )
    batch_wait_s = forms.IntegerField(
        label="Seconds that a batch waits for more",
        min_value=1,
        help_text="Of no matter while a request carries one message.",
    )
    manifest = forms.BooleanField(
        label="Daily manifest",
        required=False,
        help_text="A signed list of what was sent each day, for proving that nothing "
        "is missing.",
    )
    max_rate_per_min = forms.IntegerField(
        label="Requests a minute at most",
        required=False,
        min_value=1,
        help_text="Beside what the receiver granted. Empty: no limit of yours.",
    )
    max_concurrency = forms.IntegerField(
        label="Requests at once at most",
        min_value=1,
        help_text="Of each worker.",
    )
    drain_rate_per_min = forms.IntegerField(
        label="Requests a minute after a stop",
        min_value=1,
        help_text="At this rate what waited is worked off.",
    )

    def fill_choices(self) -> None:
        """Offer the catalogue, the versions and the tenant's device groups."""
        super().fill_choices()
        self.fields["event_types"].help_text = ""
        groups = device_groups_of(self.actor.tenant).order_by("name")
        choices = {
            "device_groups": [
                (one, one) for one in groups.values_list("name", flat=True)
            ],
            "api_version": [
                (one.name, f"{one.name}: {one.description}") for one in VERSIONS
            ],
        }
        for name, found in choices.items():
            self.fields[name].choices = found  # type: ignore[attr-defined]


def settings_shown(endpoint: Endpoint) -> dict[str, Any]:
    """Return what the form for changes begins with."""
    settings = settings_of(endpoint)
    filters = settings.pop("filters")
    typed = {name: "\n".join(filters.get(name, ())) for name in _TYPED}
    return {**settings, **typed, "device_groups": filters.get("device_groups", [])}


def settings_of(endpoint: Endpoint) -> dict[str, Any]:
    """Return the settings by their names in the API."""
    return {
        "url": endpoint.proposed_url or endpoint.url,
        "description": endpoint.description,
        "event_types": endpoint.event_types,
        "filters": endpoint.filters,
        "payload": endpoint.payload,
        "api_version": endpoint.api_version,
        "ordered": endpoint.is_ordered,
        "batch_size": endpoint.batch_size,
        "batch_wait_s": endpoint.batch_wait_s,
        "manifest": endpoint.has_manifest,
        "max_rate_per_min": endpoint.max_rate_per_min,
        "max_concurrency": endpoint.max_concurrency,
        "drain_rate_per_min": endpoint.drain_rate_per_min,
    }


def changes_in(data: dict[str, Any], endpoint: Endpoint) -> dict[str, Any]:
    """Return what the form says otherwise than it is, by the names of the API."""
    wanted = {name: value for name, value in data.items() if name not in _FILTERS}
    filters = {name: _split(data[name]) for name in _TYPED}
    filters["device_groups"] = data["device_groups"]
    wanted["filters"] = {name: values for name, values in filters.items() if values}
    current = settings_of(endpoint)
    return {
        name: value
        for name, value in wanted.items()
        if _comparable(value) != _comparable(current[name])
    }


_FILTERS = (*_TYPED, "device_groups")


def _comparable(value: Any) -> Any:
    """Return lists as sets: in what order they were ticked changes nothing."""
    if isinstance(value, list):
        return frozenset(value)
    if isinstance(value, dict):
        return {name: _comparable(inner) for name, inner in value.items()}
    return value
