"""The catalogue: schemas, examples, thin forms, patterns, and the page made of it."""

from pathlib import Path

import jsonschema_rs
import pytest
from django.conf import settings
from django.urls import resolve

from subscriptions.catalogue import CATALOGUE, PATTERNS, EventType, patterns_for
from subscriptions.catalogue.page import page
from subscriptions.catalogue.schemas import DIALECT
from tests.schemas import check_data

TYPES = list(CATALOGUE.values())
each_type = pytest.mark.parametrize("one", TYPES, ids=[one.name for one in TYPES])


@each_type
def test_schema_is_one_of_the_named_dialect(one: EventType) -> None:
    assert one.schema["$schema"] == DIALECT
    jsonschema_rs.meta.validate(one.schema)


@each_type
def test_example_is_an_instance_and_names_every_member(one: EventType) -> None:
    check_data(one.name, one.example)
    assert list(one.example) == list(one.schema["properties"])


@each_type
def test_schema_refuses_what_lacks_a_member(one: EventType) -> None:
    for name in one.schema["required"]:
        less = {key: value for key, value in one.example.items() if key != name}
        with pytest.raises(jsonschema_rs.ValidationError):
            check_data(one.name, less)


@each_type
def test_thin_form_has_ids_and_where_the_rest_is(one: EventType) -> None:
    thin = one.thin_data(one.example, "https://site.example")
    assert list(thin) == [*one.thin, "url"]
    assert thin["url"].startswith("https://site.example/api/v1/")
    assert "{" not in thin["url"]


def test_thin_forms_url_escapes_what_a_device_may_be_called() -> None:
    silent = CATALOGUE["device.silent"]
    thin = silent.thin_data({**silent.example, "device": "a/b&c=d é"}, "https://s")
    assert "device=a%2Fb%26c%3Dd%20%C3%A9&" in thin["url"]


def test_alarms_are_urgent_and_nothing_else() -> None:
    urgent = {one.name for one in TYPES if one.urgent}
    assert urgent == {"device.silent", "usage.threshold_exceeded"}


def test_patterns_name_types_their_groups_and_everything() -> None:
    assert patterns_for("callback.processed") == {
        "callback.processed",
        "callback.*",
        "*",
    }
    assert set(CATALOGUE) | {"*", "reading.*", "delivery.*"} < PATTERNS
    assert "reading*" not in PATTERNS


def test_page_in_the_documentation_is_the_catalogues() -> None:
    there = Path(settings.BASE_DIR) / "docs" / "reference" / "event-types.md"
    assert there.read_text() == page(), "python -m subscriptions.catalogue > it"


@each_type
def test_where_a_thin_message_points_a_view_answers(one: EventType) -> None:
    path = one.thin_example["url"].removeprefix("https://gridhook.example")
    assert resolve(path.split("?")[0]).url_name
