"""The workers' tasks, and the partitions that one of them looks after."""

from datetime import UTC, date, datetime, timedelta
from io import StringIO
from time import monotonic
from uuid import UUID

import pytest
from django.core.management import call_command
from django.test import override_settings

from ingest import tasks
from ingest.models import CallbackBody, CallbackState
from ingest.processing import partitions
from ingest.tests.accepting import drain, inlet, interval
from subscriptions.services.endpoints import create_endpoint
from tenants import doorbell
from tenants.actors import Actor
from tenants.database import acting_for, pipeline
from tenants.identifiers import new_id
from tenants.models import Tenant

AT = "2016-01-01T00:00:00Z"


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    bells: list[str] = []
    monkeypatch.setattr(doorbell, "ring", bells.append)
    return bells


def bodies() -> set[str]:
    with pipeline() as lane:
        rows = lane.execute(
            """SELECT inhrelid::regclass::text FROM pg_inherits
            WHERE inhparent = 'ingest_callbackbody'::regclass"""
        ).fetchall()
    return {name for (name,) in rows}


def body_at(tenant: Tenant, received_at: datetime) -> UUID:
    """Keep a body as the listener would have at that time."""
    callback_id = new_id()
    with pipeline() as lane:
        lane.execute(
            "INSERT INTO ingest_callbackbody VALUES (%s, %s, %s, 'text/plain', 'x')",
            [tenant.pk, callback_id, received_at],
        )
    return callback_id


def test_a_turn_settles_everything_and_rings_for_what_follows(
    tenant: Tenant, actor: Actor, rung: list[str]
) -> None:
    drain()
    lane = inlet(tenant)
    with acting_for(tenant):
        create_endpoint(
            tenant=tenant, actor=actor, url="https://127.0.0.1/", event_types=["*"]
        )
    callback_id = lane.accept([interval(AT)])
    tasks.process(sent_by="another version")
    assert lane.callback(callback_id).state == CallbackState.PROCESSED
    assert rung == ["subscriptions.deliver", "ingest.recompute_usage"]
    assert lane.usage() == []
    tasks.recompute_usage()
    assert [row.value for row in lane.usage()] == [1]
    assert len(rung) == 2


def test_a_turn_that_is_over_rings_for_itself(
    tenant: Tenant, rung: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    callback_id = inlet(tenant).accept([interval(AT)])
    monkeypatch.setattr(tasks, "TURN_S", 0)
    tasks.process()
    tasks.recompute_usage()
    assert rung == ["ingest.process", "ingest.recompute_usage"]
    assert inlet(tenant).callback(callback_id).state == CallbackState.ACCEPTED
    drain()


def test_the_coming_days_have_partitions_before_they_come() -> None:
    now = datetime(2027, 12, 28, 23, 30, tzinfo=UTC)
    partitions.ensure_partitions(now)
    partitions.ensure_partitions(now)
    wanted = {f"ingest_callbackbody_{now + timedelta(days=n):%Y%m%d}" for n in range(8)}
    assert "ingest_callbackbody_20280104" in wanted
    assert wanted <= bodies()
    with pipeline() as lane:
        (found,) = (
            lane.execute("SELECT to_regclass('ingest_reading_202801')").fetchone() or ()
        )
    assert found is not None


def test_a_day_that_began_without_its_partition_does_not_stop_the_next(
    tenant: Tenant,
) -> None:
    body_at(tenant, datetime(2031, 5, 5, 12, tzinfo=UTC))
    partitions.ensure_partitions(datetime(2031, 5, 5, 13, tzinfo=UTC))
    assert "ingest_callbackbody_20310505" not in bodies()
    assert "ingest_callbackbody_20310506" in bodies()


@override_settings(BODY_RETENTION_DAYS=90)
def test_bodies_without_a_partition_end_with_their_retention(tenant: Tenant) -> None:
    old = body_at(tenant, datetime(2000, 1, 1, 23, tzinfo=UTC))
    young = body_at(tenant, datetime(2000, 1, 2, 0, tzinfo=UTC))
    partitions.drop_old_bodies(datetime(2000, 1, 2, tzinfo=UTC) + timedelta(days=90))
    with acting_for(tenant):
        kept = CallbackBody.objects.filter(callback_id__in=[old, young])
        assert [row.callback_id for row in kept] == [young]


@override_settings(BODY_RETENTION_DAYS=90)
def test_bodies_past_their_retention_are_dropped_by_the_day() -> None:
    for day in (date(2001, 1, 1), date(2001, 1, 2)):
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        with pipeline() as lane:
            lane.execute(
                "SELECT ingest_make_partition('ingest_callbackbody', %s, %s, %s)",
                [f"{day:%Y%m%d}", start, start + timedelta(days=1)],
            )
    now = datetime(2001, 1, 2, 12, tzinfo=UTC) + timedelta(days=90)
    assert partitions.drop_old_bodies(now) == 1
    assert "ingest_callbackbody_20010101" not in bodies()
    assert "ingest_callbackbody_20010102" in bodies()
    assert partitions.drop_old_bodies(now + timedelta(days=1)) == 1


def test_the_command_makes_tomorrows_partition() -> None:
    output = StringIO()
    call_command("maintain", stdout=output)
    assert "Partitions are ready" in output.getvalue()
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert f"ingest_callbackbody_{tomorrow:%Y%m%d}" in bodies()
    tasks.maintain_partitions()


@override_settings(BODY_RETENTION_DAYS=90)
def test_a_partition_that_is_in_use_is_dropped_another_time(tenant: Tenant) -> None:
    day = datetime(2002, 1, 1, tzinfo=UTC)
    with pipeline() as lane:
        lane.execute(
            "SELECT ingest_make_partition('ingest_callbackbody', %s, %s, %s)",
            [f"{day:%Y%m%d}", day, day + timedelta(days=1)],
        )
    now = day + timedelta(days=91)
    with pipeline() as lane:
        lane.execute("LOCK TABLE ingest_callbackbody IN ROW EXCLUSIVE MODE")
        began_at = monotonic()
        assert partitions.drop_old_bodies(now) == 0
        # Whoever stores a body meanwhile waits behind it.
        assert monotonic() - began_at < 1
    assert "ingest_callbackbody_20020101" in bodies()
    assert partitions.drop_old_bodies(now) == 1


def test_functions_that_act_as_their_owner_look_at_temporary_tables_last() -> None:
    with pipeline() as lane:
        paths = lane.execute(
            """SELECT proname, array_to_string(proconfig, ';') FROM pg_proc
            WHERE prosecdef AND proname LIKE 'ingest%'"""
        ).fetchall()
    assert len(paths) == 3
    assert all("search_path=pg_catalog, public, pg_temp" in path for _, path in paths)
