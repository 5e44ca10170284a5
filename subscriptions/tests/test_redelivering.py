"""Many messages again: recovered or replayed, at a rate, through crashes and stops."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from time import monotonic, sleep
from typing import Any

import pytest

from subscriptions.models import Endpoint, MaintenanceWindow, Redelivery
from subscriptions.queries.redeliveries import caught_up_at
from subscriptions.services import redelivering
from subscriptions.services.endpoints.rows import EndpointUnknown
from subscriptions.services.redelivering import (
    PeriodOutOfReach,
    RedeliveryEnded,
    RedeliveryRunning,
    RedeliveryUnknown,
    cancel_redelivery,
    recover,
    redeliver,
    replay,
)
from subscriptions.tests.delivering import deliver_until, make_endpoint
from subscriptions.tests.history import by_message, statuses, write_history
from subscriptions.tests.receivers import receiving
from tenants.actors import Actor
from tenants.database import acting_for, pipeline
from tenants.identifiers import public_id
from tenants.models import AuditEntry, Tenant
from tenants.services import NewTenant, RateInvalid

NOW = datetime.now(tz=UTC)
HOUR = timedelta(hours=1)
YESTERDAY = NOW - timedelta(days=1)


@pytest.fixture
def endpoint(tenant: Tenant) -> Endpoint:
    found, _ = make_endpoint(tenant, "http://127.0.0.1:9/hook")
    return found


Start = Callable[..., Redelivery]


@pytest.fixture
def start(tenant: Tenant, actor: Actor, endpoint: Endpoint) -> Start:
    """Recover since yesterday, or replay a device from then, unless told otherwise."""

    def start(device: str | None = None, **options: Any) -> Redelivery:
        chosen = {
            "since": YESTERDAY - HOUR,
            "now": NOW,
            "endpoint": endpoint,
            **options,
        }
        with acting_for(tenant):
            if device is None:
                return recover(tenant=tenant, actor=actor, **chosen)
            chosen.setdefault("until", NOW)
            return replay(tenant=tenant, actor=actor, device=device, **chosen)

    return start


def reread(redelivery: Redelivery) -> Redelivery:
    with acting_for(redelivery.tenant_id):
        return Redelivery.objects.get(pk=redelivery.pk)


def let_pass(redelivery: Redelivery, seconds: float) -> None:
    """Have the redelivery's rate see so many seconds pass."""
    with pipeline() as lane:
        lane.execute(
            """UPDATE subscriptions_redelivery
            SET rate_used_until = rate_used_until - %s * interval '1 s'
            WHERE id = %s""",
            [seconds, redelivery.pk],
        )


def run_to_end(redelivery: Redelivery) -> Redelivery:
    for _ in range(50):
        redeliver()
        if reread(redelivery).status != "running":
            return reread(redelivery)
        let_pass(redelivery, 60)
    raise AssertionError(reread(redelivery).__dict__)


def test_what_was_given_up_arrives_as_it_was_first_sent(
    tenant: Tenant, actor: Actor
) -> None:
    with receiving() as receiver:
        endpoint, _ = make_endpoint(tenant, receiver.url)
        (own,) = write_history(endpoint, YESTERDAY, own_body=b'{"n": 1.10}')
        (common,) = write_history(endpoint, YESTERDAY + HOUR)
        with acting_for(tenant):
            recover(
                tenant=tenant, actor=actor, endpoint=endpoint, since=YESTERDAY, now=NOW
            )
        assert redeliver() is False
        deliver_until(tenant, "delivered")
    got = {one.headers["webhook-id"]: one.body for one in receiver.posts()}
    assert got == {
        public_id("msg", own): b'{"n": 1.10}',
        public_id("msg", common): f'{{"id":"{public_id("msg", common)}"}}'.encode(),
    }


def test_a_recovery_takes_the_dead_of_its_period_and_nothing_else(
    endpoint: Endpoint, start: Start
) -> None:
    earlier = write_history(endpoint, YESTERDAY - 2 * HOUR)
    dead = write_history(endpoint, YESTERDAY, count=3)
    others = [
        *write_history(endpoint, YESTERDAY, status="delivered"),
        *write_history(endpoint, YESTERDAY, status="cancelled"),
    ]
    started = start()
    assert (started.total, started.done, started.status) == (3, 0, "running")
    ended = run_to_end(started)
    assert (ended.done, ended.status) == (3, "completed")
    assert ended.finished_at is not None
    assert statuses(endpoint, dead) == ["pending"] * 3
    assert statuses(endpoint, [*earlier, *others]) == ["dead", "delivered", "cancelled"]
    first = by_message(endpoint)[dead[0]]
    assert (first.schedule_step, first.lane, first.attempt_count) == (0, 2, 3)
    assert (first.leased_until, first.finished_at) == (None, None)
    with acting_for(endpoint.tenant_id):
        told = AuditEntry.objects.filter(tenant=endpoint.tenant_id)
        actions = list(told.order_by("at").values_list("action", flat=True))
    assert actions[-2:] == ["endpoint.recover_started", "redelivery.completed"]


def test_messages_are_due_one_after_another_at_the_rate(
    endpoint: Endpoint, start: Start
) -> None:
    ids = write_history(endpoint, YESTERDAY, count=120)
    started = start(rate_per_s=4)
    redeliver()
    assert reread(started).done == 60  # 15 s ahead, more than a sweep.
    redeliver()
    assert reread(started).done == 60
    due = [by_message(endpoint)[one].next_attempt_at for one in ids[:60]]
    gaps = {later - sooner for sooner, later in pairwise(filter(None, due))}
    assert (len(due), gaps) == (60, {timedelta(seconds=0.25)})
    let_pass(started, 5)
    redeliver()
    assert reread(started).done == 60
    let_pass(started, 5)
    redeliver()
    assert 100 <= reread(started).done < 120
    left_s = (120 - reread(started).done) / 4
    forecast = caught_up_at(reread(started), NOW)
    assert forecast == reread(started).rate_used_until + timedelta(seconds=left_s)
    let_pass(started, 60)
    redeliver()
    assert (reread(started).done, reread(started).status) == (120, "completed")
    assert caught_up_at(reread(started), NOW) is None


def test_a_worker_that_dies_in_a_step_leaves_it_as_it_was(
    endpoint: Endpoint, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = write_history(
        endpoint, YESTERDAY, count=25, status="delivered", devices=["a"]
    )
    started = start("a")
    monkeypatch.setattr(redelivering, "STEP", 10)
    redelivering._step()

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(redelivering, "_note", die)
        with pytest.raises(KeyboardInterrupt):
            redelivering._step()
    assert statuses(endpoint, ids) == ["pending"] * 10 + ["delivered"] * 15
    ended = run_to_end(started)
    assert (ended.done, ended.status) == (25, "completed")
    assert statuses(endpoint, ids) == ["pending"] * 25


_WORKER = """
import django
django.setup()
from subscriptions.services import redelivering
redelivering.STEP = 5
redelivering.TURN_S = 60
redelivering.redeliver()
"""


def test_a_killed_worker_loses_nothing_and_repeats_nothing(
    endpoint: Endpoint, start: Start
) -> None:
    ids = write_history(endpoint, YESTERDAY, count=3_000, status="delivered")
    started = start("", rate_per_s=10_000)
    command = [sys.executable, "-W", "ignore", "-c", _WORKER]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    with subprocess.Popen(command, env=environment) as worker:
        until = monotonic() + 30
        while reread(started).done < 100:
            assert worker.poll() is None
            assert monotonic() < until
            sleep(0.01)
        worker.kill()
    killed_at = reread(started).done
    assert 100 <= killed_at < 3_000
    assert statuses(endpoint, ids).count("pending") == killed_at
    ended = run_to_end(started)
    assert (ended.done, ended.status) == (3_000, "completed")
    assert set(statuses(endpoint, ids)) == {"pending"}


def test_a_worker_leaves_alone_what_another_is_working_off(
    endpoint: Endpoint, start: Start
) -> None:
    write_history(endpoint, YESTERDAY)
    started = start()
    with pipeline() as other:
        other.execute(
            "SELECT FROM subscriptions_redelivery WHERE id = %s FOR UPDATE",
            [started.pk],
        )
        assert redeliver() is False
    assert reread(started).done == 0


def test_one_of_a_kind_runs_to_an_endpoint_at_once(
    endpoint: Endpoint, start: Start
) -> None:
    write_history(endpoint, YESTERDAY)
    first = start()
    with pytest.raises(RedeliveryRunning):
        start()
    other_kind = start("")
    run_to_end(first)
    run_to_end(other_kind)
    write_history(endpoint, YESTERDAY)
    assert start().status == "running"


def test_one_with_nothing_to_send_has_ended_at_once(start: Start) -> None:
    yet_to_come = datetime.max.replace(tzinfo=UTC)
    for options in ({}, {"since": yet_to_come}, {"device": "a"}):
        started = start(**options)
        assert (started.total, started.status) == (0, "completed")
        assert started.since <= NOW
        assert started.finished_at is not None


@pytest.mark.parametrize(
    ("stopped", "going"),
    [
        ({"status": "paused"}, {"status": "active"}),
        ({"hold_until": NOW + HOUR}, {"hold_until": None}),
    ],
)
def test_it_waits_while_the_endpoint_is_stopped_and_goes_on_after(
    endpoint: Endpoint, start: Start, stopped: Any, going: Any
) -> None:
    ids = write_history(endpoint, YESTERDAY)
    started = start()
    set_endpoint(endpoint, **stopped)
    redeliver()
    assert statuses(endpoint, ids) == ["dead"]
    set_endpoint(endpoint, **going)
    assert run_to_end(started).done == 1


def test_it_waits_for_a_maintenance_window_to_be_closed(
    endpoint: Endpoint, start: Start
) -> None:
    ids = write_history(endpoint, YESTERDAY)
    started = start()
    with acting_for(endpoint.tenant_id):
        window = MaintenanceWindow.objects.create(
            tenant=endpoint.tenant, endpoint=endpoint, start_at=YESTERDAY, end_at=NOW
        )
    redeliver()
    assert statuses(endpoint, ids) == ["dead"]
    with acting_for(endpoint.tenant_id):
        MaintenanceWindow.objects.filter(pk=window.pk).update(closed_at=NOW)
    assert run_to_end(started).done == 1


def set_endpoint(endpoint: Endpoint, **fields: Any) -> None:
    with acting_for(endpoint.tenant_id):
        Endpoint.objects.filter(pk=endpoint.pk).update(**fields)


def test_it_ends_with_its_endpoint(endpoint: Endpoint, start: Start) -> None:
    ids = write_history(endpoint, YESTERDAY)
    started = start()
    set_endpoint(endpoint, deleted_at=NOW)
    assert run_to_end(started).status == "cancelled"
    assert statuses(endpoint, ids) == ["dead"]


def test_a_cancelled_one_stops_where_it_stands(
    tenant: Tenant, actor: Actor, endpoint: Endpoint, start: Start, stranger: NewTenant
) -> None:
    write_history(endpoint, YESTERDAY, count=40)
    started = start(rate_per_s=1)
    redeliver()
    with acting_for(stranger.tenant), pytest.raises(RedeliveryUnknown):
        cancel_redelivery(
            tenant=stranger.tenant, actor=actor, redelivery=started, now=NOW
        )
    with acting_for(tenant):
        ended = cancel_redelivery(
            tenant=tenant, actor=actor, redelivery=started, now=NOW
        )
    let_pass(started, 60)
    redeliver()
    assert (ended.status, reread(started).done) == ("cancelled", 15)
    with acting_for(tenant), pytest.raises(RedeliveryEnded):
        cancel_redelivery(tenant=tenant, actor=actor, redelivery=started, now=NOW)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"since": NOW - timedelta(days=400, seconds=1)}, PeriodOutOfReach),
        ({"device": "a", "since": NOW}, PeriodOutOfReach),
        ({"device": "a", "until": YESTERDAY - HOUR}, PeriodOutOfReach),
        ({"rate_per_s": 0}, RateInvalid),
        ({"rate_per_s": redelivering.RATE_LIMIT_PER_S + 1}, RateInvalid),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(
    start: Start, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        start(**options)


def test_the_reach_is_named_when_it_is_passed(start: Start) -> None:
    with pytest.raises(PeriodOutOfReach, match="messages are kept for 400 days, since"):
        start(since=NOW - timedelta(days=500))
    assert start(since=NOW - timedelta(days=400)).total == 0


def test_another_tenants_endpoint_is_unknown(start: Start, stranger: NewTenant) -> None:
    theirs, _ = make_endpoint(stranger.tenant, "http://127.0.0.1:9/hook")
    write_history(theirs, YESTERDAY)
    for device in (None, "a"):
        with pytest.raises(EndpointUnknown):
            start(device, endpoint=theirs)


def test_a_replay_sends_a_devices_messages_of_the_period_again_delivered_or_not(
    tenant: Tenant, endpoint: Endpoint, start: Start
) -> None:
    neighbour, _ = make_endpoint(tenant, "http://127.0.0.1:9/other")
    since, until = YESTERDAY, YESTERDAY + HOUR
    ids = [
        *write_history(endpoint, since - timedelta(seconds=1), devices=["a"]),
        *write_history(endpoint, since, status="delivered", devices=["a", "b"]),
        *write_history(endpoint, since + timedelta(seconds=5), devices=["a"]),
        *write_history(endpoint, until, status="delivered", devices=["a"]),
    ]
    other = write_history(endpoint, since, status="delivered", devices=["aa"])
    elsewhere = write_history(neighbour, since, status="delivered", devices=["a"])
    discarded = write_history(endpoint, since, status="cancelled", devices=["a"])
    waiting = write_history(endpoint, since, status="pending", devices=["a"])
    started = start("a", since=since, until=until)
    assert started.total == 2
    assert run_to_end(started).done == 2
    assert statuses(endpoint, ids) == ["dead", "pending", "pending", "delivered"]
    assert statuses(endpoint, [*other, *discarded]) == ["delivered", "cancelled"]
    assert statuses(neighbour, elsewhere) == ["delivered"]
    # What waits goes on as it did.
    assert by_message(endpoint)[waiting[0]].schedule_step == 3


def test_a_replay_without_a_device_is_of_all(endpoint: Endpoint, start: Start) -> None:
    ids = write_history(endpoint, YESTERDAY, count=7, status="delivered")
    late = write_history(endpoint, YESTERDAY + 3 * HOUR, status="delivered")
    started = start("", until=YESTERDAY + HOUR)
    assert started.total == 7
    assert run_to_end(started).done == 7
    assert statuses(endpoint, [*ids, *late]) == ["pending"] * 7 + ["delivered"]
