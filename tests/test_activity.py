"""What the dashboard counts, and how cheaply."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import connection
from django.urls import reverse

from config.console import activity
from config.console.activity import Activity, Minute
from conftest import make_tenant
from ingest.tests.accepting import make_source
from subscriptions.tests.delivering import make_endpoint
from tenants.database import acting_for, pipeline
from tenants.models import Tenant
from tests.plans import analyse
from tests.visitors import visitor

NOW = datetime(2026, 3, 29, 1, 0, 30, tzinfo=UTC)


def an_id(moment: datetime) -> UUID:
    """Return a UUIDv7 of the moment."""
    stamp = round(moment.timestamp() * 1000) << 80
    return UUID(int=stamp | 7 << 76 | 2 << 62 | uuid4().int & (1 << 62) - 1)


def accept(tenant: Tenant, moment: datetime, *, waits: bool = False) -> None:
    found, source = an_id(moment), uuid4()
    with pipeline() as lane:
        lane.execute(
            """INSERT INTO ingest_callback (tenant_id, id, source_id, transaction_id,
                digest, received_at) VALUES (%s, %s, %s, 'x', 'x', %s)""",
            [tenant.pk, found, source, moment],
        )
        if waits:
            lane.execute(
                "INSERT INTO ingest_pendingcallback VALUES (%s, %s, %s, %s)",
                [found, tenant.pk, source, moment],
            )


def deliver(tenant: Tenant, moment: datetime, status: str, error: str = "") -> None:
    endpoint, _ = make_endpoint(tenant, "http://127.0.0.1:9/hook")
    with pipeline() as lane:
        lane.execute(
            """INSERT INTO subscriptions_delivery (tenant_id, id, message_id,
                endpoint_id, event_type, status, last_error)
            VALUES (%s, %s, %s, %s, 'x', %s, %s)""",
            [tenant.pk, an_id(moment), uuid4(), endpoint.pk, status, error],
        )


def seen(tenant: Tenant, now: datetime = NOW) -> Activity:
    with acting_for(tenant):
        return activity.activity(tenant=tenant, now=now)


def test_a_callback_is_counted_in_its_minute(tenant: Tenant) -> None:
    for moment in (
        NOW - timedelta(minutes=59, seconds=30),
        NOW - timedelta(minutes=59, seconds=31),
        NOW - timedelta(seconds=30),
        NOW,
    ):
        accept(tenant, moment)
    minutes = seen(tenant).minutes
    assert [minute.accepted for minute in minutes] == [1, *[0] * 58, 2]
    assert minutes[-1].at == NOW.replace(second=0)


def test_what_waits_is_accepted_and_not_processed(tenant: Tenant) -> None:
    accept(tenant, NOW)
    accept(tenant, NOW - timedelta(seconds=9), waits=True)
    found = seen(tenant)
    assert (found.total("accepted"), found.total("processed")) == (2, 1)
    assert found.waiting == 1
    assert found.oldest_waiting_at == NOW - timedelta(seconds=9)
    assert found.last_received_at == NOW


def test_deliveries_are_counted_by_how_they_stand(tenant: Tenant) -> None:
    for status, error in (
        ("delivered", ""),
        ("pending", ""),
        ("pending", "timeout"),
        ("dead", "http_error"),
        ("cancelled", ""),
    ):
        deliver(tenant, NOW, status, error)
    found = seen(tenant)
    assert (found.total("messages"), found.total("delivered")) == (5, 1)
    assert (found.due, found.retrying, found.dead, found.failing) == (2, 1, 1, 2)


def test_another_tenant_counts_nothing(tenant: Tenant) -> None:
    accept(tenant, NOW, waits=True)
    deliver(tenant, NOW, "dead")
    found = seen(make_tenant().tenant)
    assert found.total("accepted") == found.waiting == found.dead == 0
    assert found.last_received_at is None


def test_a_past_minute_is_counted_once_and_the_running_one_anew(
    tenant: Tenant,
) -> None:
    old, new = NOW - timedelta(minutes=30), NOW
    for moment in (old, new):
        accept(tenant, moment)
    seen(tenant)
    for moment in (old, new):
        accept(tenant, moment)
    assert [m.accepted for m in seen(tenant).minutes if m.accepted] == [1, 2]


def test_minutes_are_counted_by_primary_key_ranges(tenant: Tenant) -> None:
    with pipeline() as lane:
        # Enough that the planner cares which index it takes.
        lane.execute(
            """WITH minutes AS (
                SELECT uuidv7(make_interval(mins => -n)) AS id, n
                FROM generate_series(1, 2000) AS n),
            accepted AS (
                INSERT INTO ingest_callback (tenant_id, id, source_id, transaction_id,
                    digest, received_at)
                SELECT %(tenant)s, id, uuidv7(), n, 'x', now() FROM minutes)
            INSERT INTO subscriptions_delivery (tenant_id, id, message_id,
                endpoint_id, event_type)
            SELECT %(tenant)s, id, uuidv7(), uuidv7(), 'x' FROM minutes""",
            {"tenant": tenant.pk},
        )
    analyse("ingest_callback", "subscriptions_delivery")
    values: dict[str, Any] = {
        "tenant": tenant.pk,
        "lows": [an_id(NOW)],
        "highs": [an_id(NOW)],
    }
    with acting_for(tenant), connection.cursor() as cursor:
        # The tables are small here; the question is whether the indexes serve.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {activity.COUNT_BY_MINUTE}", values)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Seq Scan" not in plan
    for key in ("ingest_callback_pkey", "subscriptions_delivery_pkey"):
        assert key in plan


def test_an_hour_is_sixty_minutes_across_a_change_of_the_clock(
    tenant: Tenant,
) -> None:
    minutes = seen(tenant).minutes
    assert len(minutes) == activity.MINUTES
    assert isinstance(minutes[0], Minute)
    assert minutes[-1].at - minutes[0].at == timedelta(minutes=59)


def test_a_step_that_is_done_is_not_asked_for(tenant: Tenant) -> None:
    browser = visitor(tenant)
    form = reverse("admin:ingest_source_add")
    first = browser.get(reverse("admin:index")).text
    assert ("What to do next" in first, form in first) == (True, True)
    make_source(tenant)
    then = browser.get(reverse("admin:index")).text
    assert ("What to do next" in then, form in then) == (True, False)
