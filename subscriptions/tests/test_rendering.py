"""The bytes that each endpoint is sent: thin, in an older shape, or as everybody."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.conf import settings

from subscriptions import api_versions
from subscriptions.api_versions import ApiVersion, ApiVersionUnknown, Document
from subscriptions.models import Delivery, Endpoint, Message
from subscriptions.services.publishing import Event, publish
from subscriptions.tests.delivering import make_endpoint
from tenants.database import acting_for, pipeline
from tenants.models import Tenant

URL = "https://subscriber.example/hook"
FIRST = "2026-11-01"
DATA: dict[str, Any] = {
    "receipt": "rcp_0193589d1e0c7cc0b1f4c2c5a1f0d9ab",
    "transaction_id": "t-1",
    "source": "src_0193589d1e0c7cc0b1f4c2c5a1f0d9aa",
    "status": "processed",
}


def endpoint(tenant: Tenant, **fields: Any) -> Endpoint:
    return make_endpoint(tenant, URL, **fields)[0]


def tell(tenant: Tenant, data: dict[str, Any] = DATA) -> None:
    at = datetime(2026, 11, 23, 18, 21, tzinfo=UTC)
    event = Event(tenant.pk, tenant.slug, "callback.processed", data, at)
    with pipeline() as lane, lane.cursor() as cursor:
        publish(cursor, [event])


def own(endpoint: Endpoint) -> bytes | None:
    with acting_for(endpoint.tenant):
        rows = Delivery.objects.filter(tenant=endpoint.tenant, endpoint=endpoint)
        body = rows.latest("id").body
    return None if body is None else bytes(body)


def common(tenant: Tenant) -> bytes:
    with acting_for(tenant):
        return bytes(Message.objects.filter(tenant=tenant).latest("id").body)


def test_thin_message_has_ids_and_a_way_to_the_rest(tenant: Tenant) -> None:
    thin, full = endpoint(tenant, payload="thin"), endpoint(tenant)
    tell(tenant)
    body = json.loads(own(thin) or b"")
    whole = json.loads(common(tenant))
    assert body["data"] == {
        "receipt": DATA["receipt"],
        "transaction_id": "t-1",
        "source": DATA["source"],
        "url": f"{settings.CONSOLE_URL}/api/v1/callbacks/{DATA['receipt']}/",
    }
    assert {**body, "data": None} == {**whole, "data": None}
    assert own(full) is None
    assert whole["data"] == DATA


def test_endpoint_of_the_newest_version_has_no_bytes_of_its_own(tenant: Tenant) -> None:
    pinned = endpoint(tenant, api_version=api_versions.latest())
    tell(tenant)
    assert own(pinned) is None


def test_a_newer_version_leaves_a_pinned_endpoints_bytes_alone(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned, newer = endpoint(tenant), endpoint(tenant, api_version="2027-03-01")
    tell(tenant)
    before = common(tenant)
    later = ApiVersion("2027-03-01", "`transaction_id` is `transaction`.", undo=undo)
    monkeypatch.setattr(api_versions, "VERSIONS", (*api_versions.VERSIONS, later))
    tell(tenant, renamed(DATA, "transaction_id", "transaction"))
    assert without_id(own(pinned)) == without_id(before)
    assert own(newer) is None
    assert json.loads(common(tenant))["data"]["transaction"] == "t-1"


def undo(document: Document) -> Document:
    data = renamed(document["data"], "transaction", "transaction_id")
    return {**document, "data": data}


def renamed(data: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    return {new if name == old else name: value for name, value in data.items()}


def without_id(body: bytes | None) -> bytes:
    """The bytes but for the message's id, which is new each time."""
    assert body is not None
    return body.replace(json.loads(body)["id"].encode(), b"msg")


def test_versions_are_undone_from_the_newest_down_to_the_one_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def undone(name: str) -> ApiVersion:
        return ApiVersion(name, "", lambda one: {"undone": [*one["undone"], name]})

    three = (ApiVersion(FIRST, ""), undone("2027-01-01"), undone("2027-02-01"))
    monkeypatch.setattr(api_versions, "VERSIONS", three)
    given: Document = {"undone": []}
    assert api_versions.render(FIRST, given)["undone"] == ["2027-02-01", "2027-01-01"]
    assert api_versions.render("2027-01-01", given)["undone"] == ["2027-02-01"]
    assert api_versions.render("2027-02-01", given) == given == {"undone": []}
    assert api_versions.latest() == "2027-02-01"


@pytest.mark.parametrize("version", ["", "2026-11-02", "1", "2026-11-01 "])
def test_version_that_never_was_is_refused(version: str) -> None:
    with pytest.raises(ApiVersionUnknown, match=FIRST):
        api_versions.checked(version)
    assert api_versions.checked(FIRST) == FIRST
