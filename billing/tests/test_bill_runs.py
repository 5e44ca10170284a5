import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from time import monotonic

import pytest
from django.db import connection

from billing.models import BillRun, BillRunStatus, Invoice
from billing.queries.drafts import draft_invoice, snapshot
from billing.services.bill_runs import ClaimLost, claim_run
from billing.services.invoicing import carry_run, issue_invoice
from billing.tests.metering import (
    CALLBACK,
    mark_pending,
    meter_days,
    new_customer,
    new_tariff,
)
from billing.tests.running import (
    JULY,
    carry,
    expire_lease,
    held,
    invoices_of,
    lines_of,
    request_run,
    reread,
)
from subscriptions.models import Delivery, Endpoint, Message
from tenants.database import acting_for, pipeline
from tenants.models import AuditEntry, Tenant

ROOT = Path(__file__).resolve().parents[2]


def test_usage_that_is_behind_is_computed_first(tenant: Tenant) -> None:
    customer = new_customer(tenant)
    meter_days(customer, JULY[0], ["1"] * 31)
    with pipeline() as lane:
        lane.execute(
            "UPDATE ingest_reading SET value = 3"
            " WHERE tenant_id = %s AND start_at = '2016-07-30 22:00Z'",
            [tenant.pk],
        )
    mark_pending(customer, date(2016, 7, 31))
    run = carry(request_run(tenant))
    assert (run.status, run.done_count) == ("completed", 1)
    assert f"{lines_of(tenant)[0].quantity:.1f}" == "33.0"


def test_an_account_waits_while_another_worker_computes_its_usage(
    tenant: Tenant,
) -> None:
    waiting, ready = new_customer(tenant), new_customer(tenant)
    meter_days(waiting, JULY[0], ["1"] * 31)
    mark_pending(waiting, date(2016, 7, 31))
    mark_pending(ready, date(2016, 8, 1))
    with pipeline() as other_worker:
        other_worker.execute(
            "SELECT pg_advisory_xact_lock(hashtext('ingest.recompute_usage'))"
        )
        run = carry(request_run(tenant))
    assert (run.status, run.done_count, run.lease_until) == ("running", 1, None)
    run = carry(run)
    assert (run.status, run.done_count) == ("completed", 2)
    assert len(invoices_of(tenant)) == 2


def test_callbacks_from_before_the_request_are_waited_for(tenant: Tenant) -> None:
    new_customer(tenant)
    with pipeline() as lane:
        lane.execute(
            """INSERT INTO ingest_pendingcallback
            (callback_id, tenant_id, source_id, received_at)
            VALUES (%s, %s, %s, now())""",
            [CALLBACK, tenant.pk, CALLBACK],
        )
    run = carry(request_run(tenant))
    assert (run.status, run.done_count) == ("running", 0)
    with pipeline() as lane:
        lane.execute(
            "DELETE FROM ingest_pendingcallback WHERE tenant_id = %s", [tenant.pk]
        )
    assert carry(run).status == "completed"


def test_a_run_without_accounts_completes(tenant: Tenant) -> None:
    run = carry(request_run(tenant))
    assert (run.status, run.account_count, run.percent) == ("completed", 0, 100)


def test_a_claimed_run_is_no_other_workers(tenant: Tenant) -> None:
    run = request_run(tenant)
    held(run)
    assert claim_run(tenant_id=tenant.pk, run_id=run.pk) is None
    assert not carry_run(tenant_id=tenant.pk, run_id=run.pk)


def test_a_worker_that_lost_its_lease_writes_nothing(tenant: Tenant) -> None:
    customer = new_customer(tenant)
    meter_days(customer, JULY[0], ["1"] * 31)
    run = request_run(tenant)
    late = held(run)
    expire_lease(run)
    held(run)
    with snapshot(tenant.pk):
        draft = draft_invoice(
            tenant=tenant, account=customer.account, period=late.period
        )
    with pytest.raises(ClaimLost):
        issue_invoice(late, customer.account, draft, now=datetime.now(UTC))
    assert invoices_of(tenant) == []


def in_thread(work: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_two_runs_at_once_issue_one_invoice_each_without_gaps(tenant: Tenant) -> None:
    tariff = new_tariff(tenant)
    for _ in range(8):
        new_customer(tenant, tariff=tariff)
    runs = [request_run(tenant), request_run(tenant)]
    threads = [in_thread(lambda run=run: carry(run)) for run in runs]  # type: ignore[misc]  # a default binds the loop's run
    for thread in threads:
        thread.join(60)
    ended = [reread(run) for run in runs]
    assert {run.status for run in ended} == {"completed"}
    assert sum(run.done_count for run in ended) == 8
    assert sum(run.skipped_count for run in ended) == 8
    numbers = [invoice.number for invoice in invoices_of(tenant)]
    assert numbers == [f"INV-{n:06d}" for n in range(1, 9)]


WORKER = """
import django
django.setup()
from billing.services.invoicing import run_bills
run_bills()
"""


def worker() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", WORKER],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"},
    )


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = monotonic() + 60
    while not is_so():
        assert monotonic() < deadline
        threading.Event().wait(0.005)


def test_a_killed_worker_is_carried_on_without_a_double_invoice(tenant: Tenant) -> None:
    tariff = new_tariff(tenant)
    count = 120
    for _ in range(count):
        new_customer(tenant, tariff=tariff)
    run = request_run(tenant)
    first = worker()
    wait_until(lambda: reread(run).done_count >= 5)
    first.kill()
    first.wait()
    with snapshot(tenant.pk):
        issued = Invoice.objects.filter(tenant=tenant).count()
        counted = BillRun.objects.get(tenant=tenant, pk=run.pk).done_count
    assert 5 <= issued == counted < count
    expire_lease(run)
    assert worker().wait(120) == 0
    ended = reread(run)
    assert (ended.status, ended.done_count) == ("completed", count)
    invoices = invoices_of(tenant)
    assert [one.number for one in invoices] == [
        f"INV-{n:06d}" for n in range(1, count + 1)
    ]
    assert len({one.account_id for one in invoices}) == count


def new_endpoint(tenant: Tenant, *event_types: str) -> Endpoint:
    with acting_for(tenant):
        return Endpoint.objects.create(
            tenant=tenant, url="https://example.com/h", event_types=list(event_types)
        )


def heard(tenant: Tenant, endpoint: Endpoint) -> list[str]:
    with acting_for(tenant):
        told = Delivery.objects.filter(tenant=tenant, endpoint=endpoint)
        return sorted(told.values_list("event_type", flat=True))


def test_endpoints_hear_of_invoices_and_of_the_end(tenant: Tenant) -> None:
    new_customer(tenant)
    both = new_endpoint(tenant, "invoice.issued", "bill_run.completed")
    own = new_endpoint(tenant, "endpoint.test")
    other = new_endpoint(tenant, "endpoint.test")
    run = carry(request_run(tenant, endpoint_id=own.pk))
    assert heard(tenant, both) == ["bill_run.completed", "invoice.issued"]
    assert heard(tenant, own) == ["bill_run.completed"]
    assert heard(tenant, other) == []
    with acting_for(tenant):
        message = Message.objects.filter(
            tenant=tenant, event_type="bill_run.completed"
        ).first()
        assert message is not None
        data = json.loads(bytes(message.body))["data"]
    assert (data["id"], data["status"], data["done_count"]) == (
        run.public_id,
        BillRunStatus.COMPLETED,
        1,
    )


def test_an_endpoint_that_asked_for_runs_is_told_of_its_own_once(
    tenant: Tenant,
) -> None:
    own = new_endpoint(tenant, "bill_run.*")
    carry(request_run(tenant, endpoint_id=own.pk))
    assert heard(tenant, own) == ["bill_run.completed"]


def test_each_invoice_and_each_end_is_in_the_trail(tenant: Tenant) -> None:
    new_customer(tenant)
    carry(request_run(tenant))
    with acting_for(tenant):
        actions = set(
            AuditEntry.objects.filter(tenant=tenant).values_list("action", flat=True)
        )
    assert {"bill_run.requested", "invoice.issued", "bill_run.completed"} <= actions
