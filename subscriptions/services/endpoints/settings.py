"""
An endpoint's settings: what each may be, and which columns it is kept in.

One rule for each name of the API. A rule is given what was asked for and returns the
columns to write; null is the default again.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from subscriptions import api_versions, filtering
from subscriptions.batches import BATCH_LIMIT
from subscriptions.catalogue import PATTERNS
from subscriptions.consent import RATE_LIMIT_PER_MIN
from subscriptions.models import Endpoint, Payload
from subscriptions.services.device_groups import hold_groups
from subscriptions.services.endpoints.credentials import (
    CREDENTIALS,
    Columns,
    check_together,
)
from subscriptions.services.signing_keys import ensure_key
from tenants.models import Tenant
from tenants.problems import Problem

DESCRIPTION_CHARACTERS = 200
EVENT_TYPES_LIMIT = 64
BATCH_WAIT_LIMIT_S = 300
CONCURRENCY_LIMIT = 256
EXTRA_SIGNATURES = ("v1a", "stripe")

Rule = Callable[[Tenant, Endpoint, Any], Columns]


class EndpointInvalid(Problem):
    """A setting is not what it must be."""

    code = "endpoint_invalid"
    title = "The endpoint's settings cannot be used"


class EventTypeUnknown(Problem):
    """Not in the catalogue."""

    code = "event_type_unknown"
    title = "The event type is unknown"


class EndpointSettings(TypedDict, total=False):
    """What an endpoint may be given beside its URL; null: the default."""

    event_types: list[str]
    description: str | None
    filters: dict[str, list[str]] | None
    payload: str | None
    api_version: str | None
    ordered: bool | None
    batch_size: int | None
    batch_wait_s: int | None
    manifest: bool | None
    extra_signatures: list[str] | None
    max_rate_per_min: int | None
    max_concurrency: int | None
    drain_rate_per_min: int | None
    headers: dict[str, str] | None
    client_certificate: dict[str, str] | None
    oauth2: dict[str, str] | None


def apply(
    *, tenant: Tenant, endpoint: Endpoint, changes: Mapping[str, Any]
) -> set[str]:
    """
    Set the endpoint's columns to what was asked for, unsaved; return their names.

    Raises: EndpointInvalid, EventTypeUnknown, FiltersInvalid, ApiVersionUnknown, and
    what `credentials` raises.
    """
    unknown = sorted(set(changes) - set(_RULES))
    if unknown:
        raise EndpointInvalid(f"{unknown[0][:64]}: there is no such setting.")
    changed: set[str] = set()
    for name, wanted in changes.items():
        columns = _RULES[name](tenant, endpoint, wanted)
        for column, value in columns.items():
            setattr(endpoint, column, value)
        changed |= set(columns)
    check_together(endpoint)
    return changed


def _default(column: str) -> Any:
    return getattr(Endpoint(), column)


def _event_types(tenant: Tenant, endpoint: Endpoint, wanted: Any) -> Columns:
    if not isinstance(wanted, list | tuple) or not wanted:
        raise EventTypeUnknown("Name at least one event type; `*` is all of them.")
    if len(wanted) > EVENT_TYPES_LIMIT:
        raise EventTypeUnknown(f"At most {EVENT_TYPES_LIMIT} types; `*` is all.")
    unknown = [
        str(name)[:64]
        for name in wanted
        if not isinstance(name, str) or name not in PATTERNS
    ]
    if unknown:
        raise EventTypeUnknown(
            f"Unknown: {', '.join(sorted(unknown))}. GET /api/v1/event-types/ has the "
            "list; `reading.*` and `*` stand for several."
        )
    return {"event_types": sorted(set(wanted))}


def _description(tenant: Tenant, endpoint: Endpoint, wanted: Any) -> Columns:
    text = wanted or ""
    is_text = isinstance(text, str) and "\0" not in text
    if not is_text or len(text) > DESCRIPTION_CHARACTERS:
        raise EndpointInvalid(
            f"description: a text of at most {DESCRIPTION_CHARACTERS} characters."
        )
    return {"description": text}


def _filters(tenant: Tenant, endpoint: Endpoint, wanted: Any) -> Columns:
    filters = filtering.checked({} if wanted is None else wanted)
    hold_groups(tenant, filters.get("device_groups", ()))
    return {"filters": filters}


def _payload(tenant: Tenant, endpoint: Endpoint, wanted: Any) -> Columns:
    value = _default("payload") if wanted is None else wanted
    if value not in Payload.values:
        raise EndpointInvalid(f"payload: one of {', '.join(Payload.values)}.")
    return {"payload": Payload(value)}


def _api_version(tenant: Tenant, endpoint: Endpoint, wanted: Any) -> Columns:
    if wanted is None:
        return {"api_version": api_versions.latest()}
    if not isinstance(wanted, str):
        raise EndpointInvalid("api_version: a text.")
    return {"api_version": api_versions.checked(wanted)}


def _extra_signatures(tenant: Tenant, endpoint: Endpoint, wanted: Any) -> Columns:
    names = [] if wanted is None else wanted
    if not isinstance(names, list | tuple):
        raise EndpointInvalid("extra_signatures: a list is expected.")
    unknown = [str(name)[:64] for name in names if name not in EXTRA_SIGNATURES]
    if unknown:
        raise EndpointInvalid(
            f"extra_signatures: {unknown[0]!r} is none of "
            f"{', '.join(EXTRA_SIGNATURES)}."
        )
    if "v1a" in names:
        ensure_key(tenant)
    return {"extra_signatures": [name for name in EXTRA_SIGNATURES if name in names]}


def _flag(name: str, column: str) -> Rule:
    def rule(tenant: Tenant, endpoint: Endpoint, wanted: Any) -> Columns:
        value = _default(column) if wanted is None else wanted
        if not isinstance(value, bool):
            raise EndpointInvalid(f"{name}: true or false.")
        return {column: value}

    return rule


def _number(name: str, highest: int) -> Rule:
    def rule(tenant: Tenant, endpoint: Endpoint, wanted: Any) -> Columns:
        if wanted is None:
            return {name: _default(name)}
        is_number = isinstance(wanted, int) and not isinstance(wanted, bool)
        if not is_number or not 1 <= wanted <= highest:
            raise EndpointInvalid(f"{name}: a whole number from 1 to {highest:,}.")
        return {name: wanted}

    return rule


_RULES: dict[str, Rule] = {
    "event_types": _event_types,
    "description": _description,
    "filters": _filters,
    "payload": _payload,
    "api_version": _api_version,
    "ordered": _flag("ordered", "is_ordered"),
    "manifest": _flag("manifest", "has_manifest"),
    "batch_size": _number("batch_size", BATCH_LIMIT),
    "batch_wait_s": _number("batch_wait_s", BATCH_WAIT_LIMIT_S),
    "max_rate_per_min": _number("max_rate_per_min", RATE_LIMIT_PER_MIN),
    "max_concurrency": _number("max_concurrency", CONCURRENCY_LIMIT),
    "drain_rate_per_min": _number("drain_rate_per_min", RATE_LIMIT_PER_MIN),
    "extra_signatures": _extra_signatures,
    **CREDENTIALS,
}
