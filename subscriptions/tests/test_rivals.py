"""What holds when others hold locks, or the database goes, at the wrong moment."""

import re
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from subscriptions.http import send_all
from subscriptions.models import Endpoint, MaintenanceWindow, Redelivery
from subscriptions.queries.redeliveries import count_to_redeliver
from subscriptions.services import redelivering
from subscriptions.services.delivering.claims import claim
from subscriptions.services.delivering.parcels import single
from subscriptions.services.delivering.recording import Result, record
from subscriptions.services.delivering.sending import deliver
from subscriptions.services.endpoints import (
    EndpointLimitReached,
    create_endpoint,
    delete_endpoint,
    registering,
)
from subscriptions.tests.calling import URL
from subscriptions.tests.delivering import (
    attempts,
    claimed_of,
    delivery_of,
    make_endpoint,
    publish_to,
)
from subscriptions.tests.history import write_history
from subscriptions.tests.receivers import Received, Reply, receiving
from tenants.actors import Actor
from tenants.database import acting_for, pipeline
from tenants.models import Tenant

PATIENCE_S = 10


class Watcher:
    """The owner, who sees which sessions wait for a lock, and may end them."""

    def __init__(self) -> None:
        self.session = psycopg.connect(settings.DATABASE_URL, autocommit=True)

    def waiting_pid(self) -> int:
        """Wait until somebody waits for a lock; return who."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            row = self.session.execute(
                "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            ).fetchone()
            if row:
                return int(row[0])
            time.sleep(0.01)
        raise AssertionError("Nobody waits.")


@contextmanager
def running(call: Callable[[], Any]) -> Generator[Future[Any]]:
    """Make the call in a thread of its own."""

    def in_thread() -> None:
        try:
            call()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(in_thread)


@pytest.fixture
def watcher() -> Generator[Watcher]:
    one = Watcher()
    yield one
    one.session.close()


def test_results_that_the_database_refused_are_written_when_it_takes_them(
    tenant: Tenant, watcher: Watcher, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(settings.DATABASE_URL) as rival:
        ended = []

        def end_whoever_records() -> None:
            pid = watcher.waiting_pid()
            watcher.session.execute("SELECT pg_terminate_backend(%s)", [pid])
            ended.append(pid)
            rival.rollback()

        def hold_the_log(_: Received) -> Reply:
            rival.execute("LOCK TABLE subscriptions_attempt IN EXCLUSIVE MODE")
            return Reply()

        with receiving(hold_the_log) as receiver:
            make_endpoint(tenant, receiver.url)
            publish_to(tenant)
            with running(end_whoever_records) as ending:
                assert deliver() is False
            ending.result()
    assert len(ended) == len(receiver.requests) == 1
    delivery = delivery_of(tenant)
    assert (delivery.status, delivery.attempt_count) == ("delivered", 1)
    assert [attempt.status_code for attempt in attempts(tenant)] == [204]
    # Beside it there may be what other tests left to be sent.
    kept = r"(\d+) results could not be written, \1 will be tried again"
    assert re.search(kept, caplog.text)


def test_results_are_given_up_when_their_lease_has_ended(
    tenant: Tenant, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.DELIVERY_LEASE_S = 1
    with psycopg.connect(settings.DATABASE_URL) as rival:

        def hold_the_log(_: Received) -> Reply:
            rival.execute("LOCK TABLE subscriptions_attempt IN EXCLUSIVE MODE")
            return Reply()

        with receiving(hold_the_log) as receiver:
            make_endpoint(tenant, receiver.url)
            publish_to(tenant)
            assert deliver(turn_s=0.5) is True
    assert "results could not be written, 0 will be tried again" in caplog.text
    assert delivery_of(tenant).status == "pending"


def test_an_endpoint_is_deleted_while_its_results_are_recorded(
    tenant: Tenant, actor: Actor, watcher: Watcher
) -> None:
    with receiving(lambda _: Reply(500)) as receiver:
        endpoint, _ = make_endpoint(tenant, receiver.url)
        publish_to(tenant)
        (claimed,) = [one for one in claim(100) if one.tenant_id == tenant.pk]
        (outcome,) = send_all([single(claimed).request()])
    with ExitStack() as threads, acting_for(tenant):
        # What deleting does first; the result, a failure, changes the endpoint too.
        Endpoint.objects.select_for_update().get(pk=endpoint.pk)
        result = Result(claimed, outcome)
        recording = threads.enter_context(running(lambda: record([result])))
        watcher.waiting_pid()
        delete_endpoint(
            tenant=tenant, actor=actor, endpoint=endpoint, now=endpoint.created_at
        )
    recording.result()
    assert delivery_of(tenant).status == "cancelled"
    assert len(attempts(tenant)) == 1


def test_deleting_an_endpoint_waits_for_its_window_before_it_locks_the_endpoint(
    tenant: Tenant, actor: Actor, watcher: Watcher
) -> None:
    endpoint, _ = make_endpoint(tenant, URL)
    window = {"start_at": timezone.now(), "end_at": timezone.now() + timedelta(days=1)}
    with acting_for(tenant):
        MaintenanceWindow.objects.create(tenant=tenant, endpoint=endpoint, **window)

    def delete() -> None:
        with acting_for(tenant):
            delete_endpoint(
                tenant=tenant, actor=actor, endpoint=endpoint, now=timezone.now()
            )

    with ExitStack() as threads, pipeline() as closer:
        # What the worker does that notices a window's end.
        mine = [endpoint.pk]
        closer.execute(
            """SELECT FROM subscriptions_maintenancewindow
            WHERE endpoint_id = %s FOR UPDATE""",
            mine,
        )
        deleting = threads.enter_context(running(delete))
        watcher.waiting_pid()
        closer.execute(
            "SELECT FROM subscriptions_endpoint WHERE id = %s FOR UPDATE NOWAIT", mine
        )
        closer.rollback()
        deleting.result()
    with acting_for(tenant):
        endpoint.refresh_from_db()
        assert not MaintenanceWindow.objects.filter(
            tenant=tenant, closed_at=None
        ).exists()
    assert endpoint.deleted_at is not None


def test_no_claim_waits_for_an_endpoint_whose_window_is_over(tenant: Tenant) -> None:
    ended_at = timezone.now() - timedelta(seconds=1)
    # Its rate has something to give by now.
    busy, _ = make_endpoint(tenant, URL, rate_used_until=ended_at)
    other, _ = make_endpoint(tenant, URL)
    with acting_for(tenant):
        MaintenanceWindow.objects.create(
            tenant=tenant,
            endpoint=busy,
            start_at=ended_at - timedelta(hours=1),
            end_at=ended_at,
        )
    publish_to(tenant)
    with pipeline() as rival:
        rival.execute(
            "SELECT FROM subscriptions_endpoint WHERE id = %s FOR UPDATE", [busy.pk]
        )
        assert [one.endpoint_id for one in claimed_of(tenant)] == [other.pk]
    assert [one.endpoint_id for one in claimed_of(tenant)] == [busy.pk]


def test_nobody_waits_for_the_endpoint_while_what_is_to_be_recovered_is_counted(
    tenant: Tenant, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, _ = make_endpoint(tenant, URL)
    now = timezone.now()
    write_history(endpoint, now - timedelta(hours=1), count=2)

    def count(wanted: Redelivery) -> int:
        with pipeline() as recorder:
            recorder.execute(
                "SELECT FROM subscriptions_endpoint WHERE id = %s FOR UPDATE NOWAIT",
                [endpoint.pk],
            )
        return count_to_redeliver(wanted)

    monkeypatch.setattr(redelivering, "count_to_redeliver", count)
    since = now - timedelta(days=1)
    with acting_for(tenant):
        started = redelivering.recover(
            tenant=tenant, actor=actor, endpoint=endpoint, since=since, now=now
        )
        assert started.total == 2
        redelivering.cancel_redelivery(
            tenant=tenant, actor=actor, redelivery=started, now=now
        )


def test_no_redelivery_that_ends_waits_for_its_endpoint(
    tenant: Tenant, actor: Actor
) -> None:
    endpoint, _ = make_endpoint(tenant, URL)
    now = timezone.now()
    write_history(endpoint, now - timedelta(hours=1), count=2)
    since = now - timedelta(days=1)
    with acting_for(tenant):
        started = redelivering.recover(
            tenant=tenant, actor=actor, endpoint=endpoint, since=since, now=now
        )
    with psycopg.connect(settings.DATABASE_URL) as rival:
        # What starting the next one does, before it waits for the end of this one.
        rival.execute(
            "SELECT FROM subscriptions_endpoint WHERE id = %s FOR UPDATE", [endpoint.pk]
        )
        redelivering.redeliver()
    with acting_for(tenant):
        started.refresh_from_db()
    assert (started.status, started.done) == ("completed", 2)
    assert started.finished_at is not None


def test_two_who_register_at_once_do_not_pass_the_limit(
    tenant: Tenant, actor: Actor, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registering, "ENDPOINT_LIMIT", 1)

    def register() -> None:
        with acting_for(tenant):
            create_endpoint(tenant=tenant, actor=actor, url=URL, event_types=["*"])

    with ExitStack() as threads, acting_for(tenant):
        create_endpoint(tenant=tenant, actor=actor, url=URL, event_types=["*"])
        second = threads.enter_context(running(register))
        watcher.waiting_pid()
    with pytest.raises(EndpointLimitReached):
        second.result()
