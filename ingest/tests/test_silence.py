"""Channels that fall silent, and are heard again."""

from collections.abc import Generator, Sequence
from datetime import timedelta
from time import perf_counter
from typing import Any

import msgspec
import pytest
from django.db import connection
from django.test import override_settings

from ingest import tasks
from ingest.models import Channel, ChannelWatch
from ingest.processing import silence
from ingest.processing.batch import process_batch
from ingest.receipts import instant
from ingest.services.watches import watch_channel
from ingest.tests.accepting import Inlet, drain, interval
from subscriptions.models import Message
from subscriptions.services.endpoints import create_endpoint
from tenants import doorbell
from tenants.actors import Actor
from tenants.database import acting_for, pipeline
from tenants.models import Tenant
from tests.plans import analyse

HOUR_S = 3600
AT = "2016-01-01T00:00:00Z"
NEXT = "2016-01-01T01:00:00Z"


@pytest.fixture(autouse=True)
def _awake() -> None:
    """Let nothing of another test wait, and the sweeps have come all along."""
    drain()
    awake(since_s=10**9)


@pytest.fixture
def watched(tenant: Tenant, actor: Actor, lane: Inlet) -> Channel:
    """A channel that reports each hour, of a tenant whose endpoint wants everything."""
    with acting_for(tenant):
        create_endpoint(
            tenant=tenant, actor=actor, url="https://127.0.0.1/", event_types=["*"]
        )
    lane.settle([interval(AT)])
    with acting_for(tenant):
        channel = Channel.objects.select_related("device").get(tenant=tenant)
        watch_channel(
            tenant=tenant, actor=actor, channel=channel, expected_interval_s=HOUR_S
        )
    # What a worker knows of channels it knows for seconds; here it is a new one.
    forget_channels()
    return channel


def forget_channels() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ingest.processing.directory.TRUST_S", -1)
        process_batch(1)


def awake(*, since_s: float, swept_s: float = 0) -> None:
    with pipeline() as lane:
        lane.execute(
            """UPDATE ingest_silencesweep
            SET awake_since = now() - %s * interval '1 second',
                swept_at = now() - %s * interval '1 second'""",
            [since_s, swept_s],
        )


def pass_time(channel: Channel, seconds: float) -> None:
    """Let the channel be due, and heard, so much earlier."""
    with pipeline() as lane:
        lane.execute(
            """UPDATE ingest_channelwatch
            SET due_at = due_at - %(s)s * interval '1 second',
                heard_at = heard_at - %(s)s * interval '1 second'
            WHERE tenant_id = %(tenant)s AND channel_id = %(channel)s""",
            {"s": seconds, "tenant": channel.tenant_id, "channel": channel.pk},
        )


def sweep() -> silence.Swept:
    with pipeline() as lane:
        return silence.find_silent(lane)


def watch_of(channel: Channel) -> ChannelWatch:
    with acting_for(channel.tenant_id):
        return ChannelWatch.objects.get(tenant=channel.tenant_id, channel=channel)


def told(tenant: Tenant) -> Sequence[dict[str, Any]]:
    with acting_for(tenant):
        rows = Message.objects.filter(tenant=tenant, event_type="device.silent")
        return [msgspec.json.decode(row.body)["data"] for row in rows.order_by("id")]


def test_an_overdue_channel_is_told_of_once(tenant: Tenant, watched: Channel) -> None:
    sweep()
    assert told(tenant) == []
    pass_time(watched, HOUR_S * 1.05 + silence.HOLD_S + 1)
    due = watch_of(watched)
    assert sweep() == (1, 1)
    assert sweep() == (0, 0)
    (message,) = told(tenant)
    since = message.pop("silent_since")
    assert message == {
        "device": "WM-1",
        "channel": "main",
        "kind": "interval",
        "commodity": "unknown",
        "status": "silent",
        "expected_interval_s": HOUR_S,
        "last_heard_at": None,
    }
    assert since == due.due_at.isoformat().replace("+00:00", "Z")
    assert watch_of(watched).silent_since == due.due_at


def test_a_silent_channel_is_told_of_when_it_is_heard_again(
    tenant: Tenant, watched: Channel, lane: Inlet
) -> None:
    first = lane.settle([interval(NEXT)])
    pass_time(watched, HOUR_S * 2)
    sweep()
    again = lane.settle([interval("2016-01-01T02:00:00Z")])
    silent, heard = told(tenant)
    assert (silent["status"], heard["status"]) == ("silent", "heard")
    assert silent["silent_since"] == heard["silent_since"]
    assert heard["last_heard_at"] == instant(again.received_at)
    assert heard["last_heard_at"] > instant(first.received_at)
    assert silent["last_heard_at"] < heard["last_heard_at"]
    assert watch_of(watched).silent_since is None
    assert sweep().channels == 0


def test_a_channel_is_due_a_twentieth_after_its_interval(
    watched: Channel, lane: Inlet
) -> None:
    row = lane.settle([interval(NEXT)])
    watch = watch_of(watched)
    assert watch.heard_at == row.received_at
    assert watch.due_at == row.received_at + timedelta(seconds=HOUR_S * 1.05)


def test_who_is_heard_often_is_written_down_rarely(
    watched: Channel, lane: Inlet
) -> None:
    first = lane.settle([interval(NEXT)])
    pass_time(watched, HOUR_S * 0.04)
    lane.settle([interval("2016-01-01T02:00:00Z")])
    before = first.received_at - timedelta(seconds=HOUR_S * 0.04)
    assert watch_of(watched).heard_at == before
    pass_time(watched, HOUR_S * 0.02)
    third = lane.settle([interval("2016-01-01T03:00:00Z")])
    assert watch_of(watched).heard_at == third.received_at
    assert sweep().channels == 0


def test_another_interval_counts_at_once(
    tenant: Tenant, actor: Actor, watched: Channel, lane: Inlet
) -> None:
    lane.settle([interval(NEXT)])
    with acting_for(tenant):
        watched.refresh_from_db()
        watch_channel(
            tenant=tenant, actor=actor, channel=watched, expected_interval_s=600
        )
    pass_time(watched, 120)
    row = lane.settle([interval("2016-01-01T02:00:00Z")])
    assert watch_of(watched).due_at == row.received_at + timedelta(seconds=630)


def test_the_word_that_a_value_is_missing_is_no_sign_of_life(
    watched: Channel, lane: Inlet
) -> None:
    lane.settle([{"at": NEXT, "duration_s": 3600, "quality": "N"}])
    assert watch_of(watched).heard_at is None
    # The same again under another transaction id is one.
    lane.settle([interval(AT)])
    assert watch_of(watched).heard_at is not None


def test_callbacks_that_wait_for_a_worker_are_not_mistaken_for_silence(
    tenant: Tenant, watched: Channel, lane: Inlet
) -> None:
    pass_time(watched, HOUR_S * 1.05 + 60)
    lane.accept([interval(NEXT)], ago_s=120)
    assert sweep().channels == 0
    drain()
    sweep()
    assert told(tenant) == []


def test_an_old_callback_that_is_done_late_does_not_end_a_silence(
    tenant: Tenant, watched: Channel, lane: Inlet
) -> None:
    pass_time(watched, HOUR_S * 2)
    sweep()
    lane.accept([interval(NEXT)], ago_s=HOUR_S * 2)
    drain()
    assert [one["status"] for one in told(tenant)] == ["silent"]
    assert watch_of(watched).silent_since is not None


def test_two_sweeps_at_once_tell_once(tenant: Tenant, watched: Channel) -> None:
    pass_time(watched, HOUR_S * 2)
    with pipeline() as lane:
        assert silence.find_silent(lane).channels >= 1
        assert sweep() == (0, 0)
    assert sweep().channels == 0
    assert len(told(tenant)) == 1


def test_a_channel_that_is_being_heard_is_left_to_its_worker(
    tenant: Tenant, watched: Channel
) -> None:
    pass_time(watched, HOUR_S * 2)
    with pipeline() as worker:
        worker.execute(
            "SELECT FROM ingest_channelwatch WHERE channel_id = %s FOR UPDATE",
            [watched.pk],
        )
        assert sweep().channels == 0
    assert sweep().channels == 1
    assert len(told(tenant)) == 1


def test_after_a_pause_of_the_platform_each_channel_is_given_its_interval_anew(
    tenant: Tenant, watched: Channel
) -> None:
    pass_time(watched, HOUR_S * 2)
    awake(since_s=10**9, swept_s=silence.PAUSE_S + 1)
    sweep()
    assert told(tenant) == []
    watch = watch_of(watched)
    with pipeline() as lane:
        (left_s,) = lane.execute(
            "SELECT extract(epoch FROM %s - now())", [watch.due_at]
        ).fetchone() or (0,)
    assert HOUR_S < left_s <= HOUR_S * 1.05
    awake(since_s=HOUR_S * 2)
    pass_time(watched, HOUR_S * 2)
    sweep()
    assert len(told(tenant)) == 1


@override_settings(SWEEP_INTERVAL_S=90)
def test_sweeps_that_come_rarely_are_no_pause(tenant: Tenant, watched: Channel) -> None:
    pass_time(watched, HOUR_S * 2)
    awake(since_s=10**9, swept_s=95)
    sweep()
    assert len(told(tenant)) == 1


def test_a_batch_without_a_watched_channel_asks_nothing(lane: Inlet) -> None:
    lane.settle([interval(AT)])
    offers: Any = type("Offers", (), {"directory": type("D", (), {"watched": {}})})
    nobody: Any = None
    assert silence.hear(nobody, offers, None) == []  # type: ignore[arg-type]  # unread


def test_the_task_tells_everyone_and_rings_for_the_deliveries(
    tenant: Tenant, watched: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[str] = []
    monkeypatch.setattr(doorbell, "ring", rung.append)
    pass_time(watched, HOUR_S * 2)
    tasks.find_silent()
    assert rung == ["subscriptions.deliver"]
    assert len(told(tenant)) == 1
    tasks.find_silent()
    assert len(rung) == 1


@pytest.fixture
def crowd(tenant: Tenant) -> Generator[None, None, None]:
    """A hundred thousand watched channels, none of them overdue."""
    with acting_for(tenant), connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO ingest_channelwatch
                (tenant_id, channel_id, expected_s, due_at)
            SELECT %s, -n, 3600, now() + n * interval '1 second'
            FROM generate_series(1, 100000) AS n""",
            [tenant.pk],
        )
    analyse("ingest_channelwatch")
    yield
    with acting_for(tenant), connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM ingest_channelwatch WHERE tenant_id = %s", [tenant.pk]
        )


def test_the_sweep_reads_the_index_of_what_is_due_and_no_reading(crowd: None) -> None:
    values = {"limit": silence.MOST_AT_ONCE, "awake_since": "epoch"}
    with pipeline() as lane:
        rows = lane.execute(f"EXPLAIN {silence.FIND}", values).fetchall()
    plan = "\n".join(line for (line,) in rows)
    assert "Index Scan using ingest_channelwatch_due" in plan
    assert "Seq Scan on ingest_channelwatch" not in plan
    assert "ingest_reading" not in plan
    took_s = []
    for _ in range(5):
        began_s = perf_counter()
        assert sweep().channels == 0
        took_s.append(perf_counter() - began_s)
    assert min(took_s) < 0.05
