"""From a callback to what was told of it: found by its transaction id and device."""

from typing import Any

from ingest.queries.ledger import receipts_of
from ingest.tests.accepting import inlet, interval
from subscriptions.tests.calling import Caller, register
from tenants.database import acting_for
from tenants.models import Tenant
from tenants.services import NewTenant


def found(caller: Caller, path: str) -> list[Any]:
    results: list[Any] = caller.get(path).json()["results"]
    return results


def test_deliveries_are_found_by_transaction_id_and_by_device(
    new_tenant: NewTenant, stranger: NewTenant
) -> None:
    owner, outsider = Caller(new_tenant.api_key), Caller(stranger.api_key)
    register(owner, "https://subscriber.example/", "callback.processed")
    made = inlet(new_tenant.tenant)
    first = made.settle([interval("2016-01-01T00:00:00Z")], device="WM-1")
    made.settle([interval("2016-01-01T00:00:00Z")], device="WM-2")
    assert len(found(owner, "/deliveries/")) == 2
    by_transaction = f"transaction_id={first.transaction_id}"
    (delivery,) = found(owner, f"/deliveries/?{by_transaction}")
    assert found(owner, "/deliveries/?device=WM-1") == [delivery]
    (message,) = found(owner, f"/messages/?{by_transaction}")
    assert message["receipt"] == first.public_id
    assert found(owner, "/messages/?device=WM-1") == [message]
    assert found(owner, f"/deliveries/?message={message['id']}") == [delivery]
    for query in ("transaction_id=none", "device=WM", "device=WM-3"):
        assert found(owner, f"/deliveries/?{query}") == []
    for query in (by_transaction, "device=WM-1", f"message={message['id']}"):
        assert found(outsider, f"/deliveries/?{query}") == []
        assert found(outsider, "/messages/?device=WM-1") == []


def test_receipts_are_the_tenants_own(tenant: Tenant, stranger: NewTenant) -> None:
    first = inlet(tenant).settle([interval("2016-01-01T00:00:00Z")])
    with acting_for(tenant):
        assert receipts_of(tenant, first.transaction_id) == [first.pk]
        assert receipts_of(tenant, "none") == []
    with acting_for(stranger.tenant):
        assert receipts_of(stranger.tenant, first.transaction_id) == []
