"""What is undelivered, what must be done about it, and finding one delivery."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from subscriptions.models import Delivery, Endpoint, MaintenanceWindow
from subscriptions.queries import undelivered as module
from subscriptions.queries.deliveries import (
    SEARCH_LIMIT,
    Undelivered,
    search,
    undelivered,
)
from subscriptions.tests.delivering import make_endpoint
from subscriptions.tests.history import by_message, write_history
from tenants.database import acting_for, pipeline
from tenants.identifiers import new_id, public_id
from tenants.mail import mail_admins
from tenants.models import Tenant
from tenants.services import NewTenant
from tests.plans import analyse

NOW = datetime.now(tz=UTC)
YESTERDAY = NOW - timedelta(days=1)


def make(tenant: Tenant, name: str = "hook", **fields: Any) -> Endpoint:
    endpoint, _ = make_endpoint(tenant, f"http://127.0.0.1:9/{name}", **fields)
    return endpoint


def ask(tenant: Tenant) -> Undelivered:
    with acting_for(tenant):
        return undelivered(tenant, NOW)


def test_nothing_is_undelivered_where_all_arrived_or_is_on_its_way(
    tenant: Tenant, stranger: NewTenant
) -> None:
    write_history(make(stranger.tenant), YESTERDAY)
    endpoint = make(tenant)
    write_history(endpoint, YESTERDAY, status="delivered")
    write_history(endpoint, YESTERDAY, status="cancelled")
    write_history(endpoint, NOW, status="pending")
    assert ask(tenant) == Undelivered(dead=[], held=[], unsent_mails=0)
    assert not ask(tenant).needs_action


def test_dead_messages_are_told_by_endpoint_with_the_commonest_reason(
    tenant: Tenant,
) -> None:
    later, first = make(tenant, "later"), make(tenant, "first")
    write_history(later, YESTERDAY + timedelta(hours=1), error="dns_error")
    write_history(first, YESTERDAY, count=2, error="tls_error")
    write_history(first, YESTERDAY, count=1, error="timeout")
    found = ask(tenant)
    assert found.needs_action
    told = [(one.endpoint, one.count, one.reason) for one in found.dead]
    assert told == [
        (first, 3, "The TLS certificate or handshake failed"),
        (later, 1, "The host name was not found"),
    ]
    assert found.dead[0].oldest_at == YESTERDAY + timedelta(seconds=1)


def test_a_status_is_part_of_the_reason(tenant: Tenant) -> None:
    endpoint = make(tenant)
    write_history(endpoint, YESTERDAY, error="http_error")
    with pipeline() as lane:
        lane.execute(
            "UPDATE subscriptions_delivery SET last_status_code = 404 "
            "WHERE tenant_id = %s",
            [tenant.pk],
        )
    assert ask(tenant).dead[0].reason == "404: Nothing is at this URL"


def test_a_count_ends_where_it_would_be_long(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COUNT_LIMIT", 3)
    endpoint = make(tenant, status="paused")
    write_history(endpoint, YESTERDAY, count=5)
    write_history(endpoint, YESTERDAY, count=5, status="pending")
    found = ask(tenant)
    assert (found.dead[0].count, found.held[0].count) == (3, 3)


@pytest.mark.parametrize(
    ("fields", "needs_action"),
    [
        ({"status": "pending"}, True),
        ({"status": "paused"}, True),
        ({"status": "disabled"}, True),
        ({"oauth2_error": "invalid_client"}, True),
        ({"breaker": "open", "hold_until": NOW + timedelta(minutes=1)}, False),
        ({"hold_until": NOW + timedelta(minutes=1)}, False),
        ({"failing_since": YESTERDAY}, False),
    ],
)
def test_what_waits_behind_a_stop_is_told_with_what_to_do(
    tenant: Tenant, fields: dict[str, Any], needs_action: bool
) -> None:
    endpoint = make(tenant, **fields)
    write_history(endpoint, YESTERDAY, count=2, status="pending")
    (held,) = ask(tenant).held
    assert (held.endpoint, held.count, held.oldest_at) == (endpoint, 2, YESTERDAY)
    assert held.why[0].words
    assert held.needs_action is ask(tenant).needs_action is needs_action


def test_the_oldest_is_found_beyond_the_bound_of_counting(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COUNT_LIMIT", 2)
    endpoint = make(tenant, status="paused")
    write_history(endpoint, NOW, count=3, status="pending")
    write_history(endpoint, YESTERDAY, status="pending")
    with acting_for(tenant):
        old = Delivery.objects.filter(tenant=tenant, created_at=YESTERDAY)
        assert old.update(lane=2) == 1
    (held,) = ask(tenant).held
    assert (held.count, held.oldest_at, held.may_wait_longer) == (2, YESTERDAY, True)


def test_a_window_holds_messages_and_asks_for_nothing(tenant: Tenant) -> None:
    endpoint = make(tenant)
    write_history(endpoint, YESTERDAY, status="pending")
    with acting_for(tenant):
        MaintenanceWindow.objects.create(
            tenant=tenant,
            endpoint=endpoint,
            start_at=NOW - timedelta(hours=1),
            end_at=NOW + timedelta(hours=1),
        )
    found = ask(tenant)
    assert [one.endpoint for one in found.held] == [endpoint]
    assert not found.needs_action


def test_a_disabled_endpoint_is_told_although_nothing_waits_yet(
    tenant: Tenant,
) -> None:
    make(tenant, "idle", status="paused")
    disabled = make(tenant, status="disabled")
    assert [one.endpoint for one in ask(tenant).held] == [disabled]
    assert ask(tenant).needs_action


def test_a_deleted_endpoint_asks_for_nothing(tenant: Tenant) -> None:
    endpoint, kept = make(tenant), make(tenant)
    write_history(endpoint, YESTERDAY, count=2)
    with acting_for(tenant):
        assert module.count_dead(tenant, 9) == 2
        Endpoint.objects.filter(pk=endpoint.pk).update(deleted_at=NOW)
    assert not ask(tenant).needs_action
    write_history(kept, YESTERDAY, count=3)
    with acting_for(tenant):
        assert module.count_dead(tenant, 9) == 3
        assert module.count_dead(tenant, 2) == 2


def test_mails_that_did_not_go_out_are_counted(tenant: Tenant) -> None:
    with pipeline() as lane, lane.cursor() as cursor:
        mail_admins(cursor, tenant_id=tenant.pk, subject="s", text="t")
    assert ask(tenant).unsent_mails == 1


def test_the_answer_reads_the_indexes_of_what_is_undelivered_alone(
    tenant: Tenant,
) -> None:
    endpoint = make(tenant)
    write_history(endpoint, YESTERDAY, count=5_000, status="delivered")
    write_history(endpoint, YESTERDAY, count=10)
    analyse("subscriptions_delivery", "subscriptions_endpoint")
    values = {"tenant": tenant.pk, "limit": 1_000, "sample": 200}
    with acting_for(tenant), connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {module._COUNTS}", values)
        plan = "\n".join(line for (line,) in cursor.fetchall())
        cursor.execute(f"EXPLAIN {module._COUNT_DEAD}", values)
        counting = "\n".join(line for (line,) in cursor.fetchall())
        with CaptureQueriesContext(connection) as captured:
            undelivered(tenant, NOW)
    assert "Seq Scan on subscriptions_delivery" not in plan, plan
    assert plan.count("delivery_dead") == 2, plan
    assert plan.count("delivery_due") == 2, plan
    assert "Sort Key: d.next_attempt_at" not in plan, plan
    assert counting.count("delivery_dead") == 1, counting
    assert len(captured) <= 4


def found(tenant: Tenant, text: str, *receipts: Any) -> list[str]:
    with acting_for(tenant):
        return [one.public_id for one in search(tenant, text, receipts)]


def test_a_delivery_is_found_by_whatever_is_known_of_it(
    tenant: Tenant, stranger: NewTenant
) -> None:
    one, other = make(tenant, "one"), make(tenant, "other", deleted_at=NOW)
    receipt = new_id()
    (message,) = write_history(
        one, YESTERDAY, status="delivered", devices=["WM 1"], receipt_id=receipt
    )
    (second,) = write_history(other, NOW, devices=["WM 1"])
    delivery = by_message(one)[message].public_id
    gone = by_message(other)[second].public_id
    for text in (
        public_id("msg", message),
        f" {delivery} ",
        public_id("rcp", receipt),
    ):
        assert found(tenant, text) == [delivery]
        assert found(stranger.tenant, text) == []
    assert found(tenant, "WM 1") == [gone, delivery]
    assert found(tenant, "transaction/17", receipt) == [delivery]
    assert found(stranger.tenant, "WM 1", receipt) == []


def test_one_endpoints_deliveries_are_found_behind_all_that_others_were_sent(
    tenant: Tenant,
) -> None:
    one, other = make(tenant, "one"), make(tenant, "other")
    (message,) = write_history(one, YESTERDAY, devices=["WM 1"])
    write_history(other, NOW, count=SEARCH_LIMIT, devices=["WM 1"])
    with acting_for(tenant):
        seen = search(tenant, "WM 1", endpoint_id=one.pk)
    assert [delivery.message_id for delivery in seen] == [message]


@pytest.mark.parametrize(
    "text",
    ["", " ", "WM", "\0", "msg_", "dlv_" + "0" * 32, "msg_" + "g" * 32, "x" * 999],
)
def test_what_stands_for_nothing_finds_nothing(tenant: Tenant, text: str) -> None:
    write_history(make(tenant), YESTERDAY, devices=["WM 1"])
    assert found(tenant, text) == []
