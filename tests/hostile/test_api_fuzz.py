"""The console's API, asked all that its own schema allows, and what it does not."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
import schemathesis
from django.test import Client
from hypothesis import HealthCheck, given, settings
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    negative_data_rejection,
    positive_data_acceptance,
)

from billing.tests.metering import meter_days, new_customer
from config.wsgi import application
from conftest import make_tenant
from ingest.tests.accepting import inlet, interval
from tenants.services import NewTenant
from tests.hostile.conftest import API_EXAMPLES

Operation = APIOperation[Any, Any, Any, Any]
#: What a schema cannot say: which ids there are, and that a page number that is none
#: means the first page.
NOT_ASKED: list[Any] = [positive_data_acceptance, negative_data_rejection]
#: Members that name a row in its URL.
IDS = ("id", "receipt", "number")


@pytest.fixture(scope="module")
def owner() -> NewTenant:
    """A tenant that has something of everything."""
    new = make_tenant()
    made = inlet(new.tenant)
    made.settle([interval("2016-01-01T00:00:00Z"), {"at": "never"}])
    meter_days(new_customer(new.tenant), date(2016, 1, 1), ["1"])
    client = Client(headers={"Authorization": f"Bearer {new.api_key}"})
    for path, body in MADE.items():
        reply = client.post(path, data=body, content_type="application/json")
        assert reply.status_code < 300, reply.content
    return new


MADE: dict[str, dict[str, Any]] = {
    "/api/v1/sources/": {"name": "head-end", "scheme": "hub"},
    "/api/v1/endpoints/": {
        "url": "https://subscriber.example/hook",
        "event_types": ["callback.processed"],
    },
    "/api/v1/device-groups/": {"name": "north", "devices": ["WM-*"]},
    "/api/v1/bill-runs/": {"period_start": "2016-01-01", "period_end": "2016-02-01"},
}


def first_id(path: str, key: str) -> str | None:
    """Return an id that a path with `{id}` has; None: its list is empty, or none."""
    start = path.partition("{")[0]
    reply = Client(headers={"Authorization": f"Bearer {key}"}).get(start)
    if reply.status_code != 200 or "json" not in reply["Content-Type"]:
        return None
    rows = reply.json()["results"]
    known = [row[name] for row in rows[:1] for name in IDS if name in row]
    return str(known[-1]) if known else None


def ask_all(operation: Operation, key: str, count: int) -> set[str]:
    """Return what is wrong with an operation's replies."""
    found: set[str] = set()

    def ask(case: Case[Any]) -> None:
        try:
            case.call_and_validate(
                headers={"Authorization": f"Bearer {key}"}, excluded_checks=NOT_ASKED
            )
        except FailureGroup as group:
            found.update(f"{operation.label}: {one}" for one in group.exceptions)

    ids: list[dict[str, str]] = [{}]
    names = [one.name for one in operation.path_parameters]
    if len(names) == 1 and (known := first_id(operation.path, key)):
        ids.append({names[0]: known})
    for parameters in ids:
        for mode in GenerationMode:
            strategy = operation.as_strategy(
                generation_mode=mode, path_parameters=parameters or None
            )
            run(given(case=strategy)(ask), count)
    return found


def run(test: Callable[[], None], count: int) -> None:
    """Run a test of hypothesis: always the same examples, none of them kept."""
    settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )(test)()


def test_real_ids_are_found_for_the_paths_that_have_some(owner: NewTenant) -> None:
    for path in ("callbacks/{receipt}/", "devices/{id}/", "accounts/{number}/"):
        assert first_id(f"/api/v1/{path}", owner.api_key)


def test_every_operation_keeps_to_its_description(
    owner: NewTenant, request: pytest.FixtureRequest
) -> None:
    # Not known where the option's conftest is read too late: a run of everything.
    count: int = request.config.getoption("--api-examples", API_EXAMPLES)
    schema = schemathesis.openapi.from_wsgi("/api/v1/schema/", application)
    operations: list[Any] = list(schema.get_all_operations())
    assert len(operations) > 50
    # What is removed is asked last, so that the others find it.
    operations.sort(key=lambda one: one.ok().method == "delete")
    found: set[str] = set()
    for operation in operations:
        found |= ask_all(operation.ok(), owner.api_key, count)
    assert found == set()
