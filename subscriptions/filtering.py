"""
Which events an endpoint hears of, beyond their types: filters.

An event is about subjects: a device, mostly with one of its channels. It passes when
its source is among those named, and one of its subjects passes all else that is named.
What is not named lets everything through; what is named lets nothing through that does
not have it: an invoice, which is about no device, passes no filter of devices.
Source: docs/how-to/choose-what-an-endpoint-hears.md
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from tenants.problems import Problem

DIMENSIONS = ("devices", "device_groups", "channels", "commodities", "sources")
#: Values that an endpoint's filters have, all dimensions together.
MOST_VALUES = 1_000
MOST_CHARACTERS = 255
_SOURCE = re.compile(r"src_[0-9a-f]{32}")


class FiltersInvalid(Problem):
    """What is named cannot be a filter."""

    code = "filters_invalid"
    title = "The filters cannot be used"


class Subject(NamedTuple):
    """What an event is about."""

    device: str
    #: Empty: the device as a whole.
    channel: str = ""
    commodity: str = ""


@dataclass(frozen=True)
class Names:
    """Names, and beginnings of names: `WM-*`."""

    exact: frozenset[str]
    #: By their length, so that 100,000 of them cost one look-up for each length.
    beginnings: Mapping[int, frozenset[str]]

    def has(self, name: str) -> bool:
        """Whether the name is one of them, or begins like one."""
        if name in self.exact:
            return True
        return any(name[:size] in same for size, same in self.beginnings.items())

    def has_any(self, all_names: frozenset[str]) -> bool:
        """Whether one of the names is."""
        if not self.exact.isdisjoint(all_names):
            return True
        return bool(self.beginnings) and any(map(self.has, all_names))


def names(patterns: Iterable[str]) -> Names:
    """Return the patterns, ready to be asked."""
    exact: set[str] = set()
    beginnings: dict[int, set[str]] = {}
    for pattern in patterns:
        if pattern.endswith("*"):
            beginnings.setdefault(len(pattern) - 1, set()).add(pattern[:-1])
        else:
            exact.add(pattern)
    return Names(
        frozenset(exact), {size: frozenset(same) for size, same in beginnings.items()}
    )


class About:
    """All that an event is about, for many filters to look at."""

    def __init__(self, subjects: Iterable[Subject]) -> None:
        self.subjects = frozenset(subjects)

    @cached_property
    def devices(self) -> frozenset[str]:
        """The devices among them."""
        return frozenset(subject.device for subject in self.subjects)

    @cached_property
    def channels(self) -> frozenset[str]:
        """The channels among them."""
        return frozenset(one.channel for one in self.subjects if one.channel)

    @cached_property
    def commodities(self) -> frozenset[str]:
        """The commodities among them."""
        return frozenset(one.commodity for one in self.subjects if one.commodity)


@dataclass(frozen=True)
class Filter:
    """An endpoint's filters; None: it does not look at that."""

    devices: Names | None
    #: Names of groups whose devices pass beside `devices`.
    groups: tuple[str, ...]
    channels: Names | None
    commodities: Names | None
    sources: Names | None

    def passes(self, source: str, about: About, groups: Mapping[str, Names]) -> bool:
        """Whether an event from the source (empty: none) about this is let through."""
        if self.sources is not None and not self.sources.has(source):
            return False
        if not self.looks_at_subjects:
            return True
        wanted = self._devices(groups)
        # Of the 100,000 that a large callback may be about, most filters know none.
        return self._may_pass(about, wanted) and any(
            self._passes(subject, wanted) for subject in about.subjects
        )

    @property
    def looks_at_subjects(self) -> bool:
        """Whether it matters what an event is about."""
        return bool(self.groups) or not (
            self.devices is self.channels is self.commodities is None
        )

    def _devices(self, groups: Mapping[str, Names]) -> list[Names] | None:
        if self.devices is None and not self.groups:
            return None
        # A group that is gone lets nothing through.
        found = [groups[name] for name in self.groups if name in groups]
        return found if self.devices is None else [self.devices, *found]

    def _may_pass(self, about: About, devices: list[Names] | None) -> bool:
        """Whether each dimension alone finds what it names."""
        if self.channels is not None and not self.channels.has_any(about.channels):
            return False
        if devices is not None and not any(
            one.has_any(about.devices) for one in devices
        ):
            return False
        return self.commodities is None or self.commodities.has_any(about.commodities)

    def _passes(self, subject: Subject, devices: list[Names] | None) -> bool:
        if self.commodities is not None and not (
            subject.commodity and self.commodities.has(subject.commodity)
        ):
            return False
        if self.channels is not None and not (
            subject.channel and self.channels.has(subject.channel)
        ):
            return False
        return devices is None or any(one.has(subject.device) for one in devices)


@lru_cache(maxsize=512)
def compiled(text: str) -> Filter | None:
    """Return an endpoint's filters from their JSON; None: it has none."""
    filters = json.loads(text)
    if not filters:
        return None
    asked = {
        name: names(filters[name]) if filters.get(name) else None for name in DIMENSIONS
    }
    return Filter(
        asked["devices"],
        tuple(filters.get("device_groups", ())),
        asked["channels"],
        asked["commodities"],
        asked["sources"],
    )


def checked(filters: Any) -> dict[str, list[str]]:
    """
    Return the filters as they are kept: each value once.

    Whether there are such groups is not judged.
    Raises: FiltersInvalid.
    """
    if not isinstance(filters, Mapping):
        raise FiltersInvalid("filters: an object is expected.")
    unknown = [str(name)[:64] for name in filters if name not in DIMENSIONS]
    if unknown:
        raise FiltersInvalid(
            f"filters: {unknown[0]!r} is none of {', '.join(DIMENSIONS)}."
        )
    kept = {
        name: _values(name, filters[name]) for name in DIMENSIONS if name in filters
    }
    if sum(map(len, kept.values())) > MOST_VALUES:
        raise FiltersInvalid(
            f"filters: more than {MOST_VALUES:,} values; name a device group, or the "
            "beginning of names with *."
        )
    _check_sources(kept.get("sources", ()))
    return kept


def _values(dimension: str, values: Any) -> list[str]:
    if not isinstance(values, list | tuple):
        raise FiltersInvalid(f"{dimension}: a list is expected.")
    if not values:
        raise FiltersInvalid(
            f"{dimension}: an empty list would let nothing through; leave it out to "
            "let everything through."
        )
    for place, value in enumerate(values[: MOST_VALUES + 1]):
        problem = why_no_name(value)
        if problem:
            raise FiltersInvalid(f"{dimension}[{place}]: {problem}")
    return list(dict.fromkeys(values))


def why_no_name(value: Any) -> str:
    """Return why this can be nobody's name; empty: it can."""
    if not isinstance(value, str):
        return "a text is expected."
    if not 1 <= len(value) <= MOST_CHARACTERS:
        return f"1 to {MOST_CHARACTERS} characters are expected."
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        return "a character that no text has."
    return ""


def _check_sources(sources: Iterable[str]) -> None:
    for source in sources:
        if not _SOURCE.fullmatch(source):
            raise FiltersInvalid(
                f"sources: {source!r} is no source's id, src_ and 32 hex digits."
            )
