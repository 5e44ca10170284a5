"""When an endpoint is spared, warned of and given up, at moments that are passed in."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from subscriptions.breaking import (
    FAILED,
    GONE,
    PATIENCE,
    WARNINGS,
    Health,
    Seen,
    after,
    breaker_pause_s,
)

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
SCHEDULE = [5.0, 300.0, 1800.0]


def health(**fields: object) -> Health:
    well = Health(
        endpoint_id=uuid4(),
        tenant_id=1,
        tenant_slug="acme",
        url="https://subscriber.example/",
        now=NOW,
        status="active",
        status_detail="",
        failing_since=None,
        failing_warned=0,
        breaker="closed",
        breaker_trips=0,
        hold_until=None,
        hold_reason="",
    )
    return replace(well, **fields)  # type: ignore[arg-type] # fields by name


def seen(before: Health, **fields: object) -> Health:
    one = Seen(before.endpoint_id, before.url, is_well=False)
    return after(before, replace(one, **fields), SCHEDULE)  # type: ignore[arg-type] # same


def in_s(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("tried_days_ago", "schedule", "status"),
    [(1, SCHEDULE, "disabled"), (3, SCHEDULE, "active"), (3, [172_800], "disabled")],
)
def test_time_in_which_nobody_tried_is_none_of_failures(
    tried_days_ago: int, schedule: list[float], status: str
) -> None:
    before = health(
        failing_since=NOW - 4 * PATIENCE,
        failing_warned=50,
        tried_at=NOW - timedelta(days=tried_days_ago),
    )
    found = after(before, Seen(before.endpoint_id, before.url, is_well=False), schedule)
    assert found.status == status
    if status == "active":
        assert (found.failing_since, found.failing_warned) == (NOW, 0)


def test_pause_doubles_from_the_schedules_first_to_five_minutes() -> None:
    pauses = [breaker_pause_s(trips, SCHEDULE) for trips in range(9)]
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert breaker_pause_s(10_000, SCHEDULE) == 300


@pytest.mark.parametrize(
    ("schedule", "first", "longest"),
    [([1.0, 2.0, 4.0], 1, 4), ([], 5, 5), ([900.0], 300, 300), ([0.05], 0.05, 0.05)],
)
def test_pause_follows_a_shortened_schedule(
    schedule: list[float], first: float, longest: float
) -> None:
    assert breaker_pause_s(0, schedule) == first
    assert breaker_pause_s(50, schedule) == longest


def test_evidence_opens_the_breaker_for_the_first_pause() -> None:
    now = seen(health(), evidence_s=30.0)
    assert (now.breaker, now.breaker_trips, now.hold_until) == ("open", 0, in_s(5))


@pytest.mark.parametrize("breaker", ["open", "half_open"])
def test_late_results_of_an_open_breaker_do_not_open_it_again(breaker: str) -> None:
    before = health(breaker=breaker, breaker_trips=3, hold_until=in_s(40))
    now = seen(before, evidence_s=1.0)
    assert (now.breaker, now.breaker_trips, now.hold_until) == (breaker, 3, in_s(40))


def test_evidence_from_before_the_breaker_closed_opens_nothing() -> None:
    closed = health(hold_until=in_s(-10))
    assert seen(closed, evidence_s=20.0).breaker == "closed"
    assert seen(closed, evidence_s=9.0).breaker == "open"


def test_failed_probe_doubles_the_pause_and_a_good_one_closes() -> None:
    probing = health(breaker="half_open", breaker_trips=1, hold_until=in_s(60))
    failed = seen(probing, probe=False)
    assert (failed.breaker, failed.breaker_trips) == ("open", 2)
    assert failed.hold_until == in_s(20)
    closed = seen(probing, probe=True, is_well=True)
    assert (closed.breaker, closed.breaker_trips) == ("closed", 0)
    assert closed.hold_until == NOW


def test_probe_of_a_breaker_that_an_admin_reset_changes_nothing() -> None:
    now = seen(health(), probe=False)
    assert (now.breaker, now.breaker_trips, now.hold_until) == ("closed", 0, None)


def test_retry_after_holds_and_never_shortens_a_hold() -> None:
    assert seen(health(), hold_s=120.0).hold_until == in_s(120)
    held = health(hold_until=in_s(500))
    assert seen(held, hold_s=120.0).hold_until == in_s(500)


@pytest.mark.parametrize(
    ("days", "warned"),
    [(0, 0), (2.49, 0), (2.5, 50), (3.49, 50), (3.5, 70), (4.5, 90), (5, 90)],
)
def test_warnings_come_at_shares_of_the_patience(days: float, warned: int) -> None:
    now = seen(health(failing_since=NOW - timedelta(days=days)))
    assert (now.failing_warned, now.status) == (warned, "active")


def test_patience_ends_after_five_days_of_nothing_but_failures() -> None:
    before = health(failing_since=NOW - PATIENCE - timedelta(seconds=1))
    now = seen(before)
    assert (now.status, now.status_detail) == ("disabled", FAILED)
    assert seen(before, is_well=True).status == "active"
    assert seen(replace(before, status="paused")).status == "paused"


def test_success_ends_failing_and_the_warnings_begin_anew() -> None:
    before = health(failing_since=NOW - timedelta(days=4), failing_warned=WARNINGS[1])
    now = seen(before, is_well=True)
    assert (now.failing_since, now.failing_warned) == (None, 0)


def test_gone_disables_at_once() -> None:
    now = seen(health(), is_gone=True)
    assert (now.status, now.status_detail) == ("disabled", GONE)
