"""How an endpoint stands, from its latest attempts and its queue."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from subscriptions.models import (
    Breaker,
    Delivery,
    Endpoint,
    EndpointStatus,
    MaintenanceWindow,
)
from subscriptions.queries import health as module
from subscriptions.queries.health import attempts_over_time, health, healths
from subscriptions.queries.hindrances import hindrances
from subscriptions.tests.delivering import make_endpoint, publish_to
from subscriptions.tests.history import write_history
from tenants.database import acting_for, pipeline
from tenants.identifiers import new_id
from tenants.models import Tenant
from tenants.services import NewTenant

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
URL = "http://127.0.0.1:9/hook"


def attempted(endpoint: Endpoint, *answers: tuple[int | None, str, int]) -> None:
    """Write attempts, a minute apart, the last one now."""
    with pipeline() as lane:
        lane.cursor().executemany(
            """INSERT INTO subscriptions_attempt (tenant_id, id, delivery_id,
                endpoint_id, number, started_at, duration_ms, status_code, error)
            VALUES (%s, %s, %s, %s, 1, %s, %s, %s, %s)""",
            [
                (
                    endpoint.tenant_id,
                    new_id(),
                    new_id(),
                    endpoint.pk,
                    NOW - timedelta(minutes=len(answers) - 1 - number),
                    duration_ms,
                    status_code,
                    error,
                )
                for number, (status_code, error, duration_ms) in enumerate(answers)
            ],
        )


def test_health_is_of_the_latest_attempts_and_of_what_waits(tenant: Tenant) -> None:
    endpoint, _ = make_endpoint(tenant, URL, status="paused")
    publish_to(tenant, 3)
    attempted(
        endpoint,
        (204, "", 10),
        (500, "http_error", 30),
        (None, "timeout", 15_000),
        (204, "", 20),
    )
    with acting_for(tenant):
        seen = health(tenant, endpoint)
    assert (seen.attempts, seen.succeeded, seen.success_rate) == (4, 2, 0.5)
    # What was never answered has no latency.
    assert (seen.p50_ms, seen.p95_ms) == (20, 30)
    assert (seen.waiting, seen.dead) == (3, 0)
    assert seen.oldest_waiting is not None
    assert seen.last_error_words == "No answer in time"
    assert seen.last_error_at == NOW - timedelta(minutes=1)
    assert seen.last_success_at == NOW
    assert seen.since == NOW - timedelta(minutes=3)


@pytest.mark.parametrize("limit", [2, 5])
def test_the_oldest_that_waits_is_found_however_much_is_counted(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(module, "COUNT_LIMIT", limit)
    endpoint, _ = make_endpoint(tenant, URL, status="paused")
    write_history(endpoint, NOW, count=3, status="pending")
    old = NOW - timedelta(days=1)
    write_history(endpoint, old, status="pending")
    with acting_for(tenant):
        Delivery.objects.filter(tenant=tenant, created_at=old).update(lane=2)
        seen = health(tenant, endpoint)
    assert (seen.waiting, seen.oldest_waiting) == (min(limit, 4), old)
    assert seen.may_wait_longer is (limit == 2)


def test_an_endpoint_that_was_never_tried_has_no_rate(tenant: Tenant) -> None:
    endpoint, _ = make_endpoint(tenant, URL)
    with acting_for(tenant):
        seen = healths(tenant, [endpoint.pk])[endpoint.pk]
        assert attempts_over_time(tenant, endpoint, NOW) == []
    assert (seen.attempts, seen.success_rate, seen.p95_ms) == (0, None, None)
    assert (seen.last_error_words, seen.since) == ("", None)


def test_another_tenants_attempts_count_for_nobody(
    tenant: Tenant, stranger: NewTenant
) -> None:
    endpoint, _ = make_endpoint(tenant, URL)
    attempted(endpoint, (204, "", 10))
    with acting_for(stranger.tenant):
        assert health(stranger.tenant, endpoint).attempts == 0
        assert attempts_over_time(stranger.tenant, endpoint, NOW) == []


def test_stretches_have_no_gaps_and_begin_at_round_times(tenant: Tenant) -> None:
    endpoint, _ = make_endpoint(tenant, URL)
    attempted(endpoint, (204, "", 10), *[(None, "timeout", 9)] * 44, (500, "x", 30))
    late = NOW + timedelta(minutes=1, seconds=7)
    with acting_for(tenant):
        found = attempts_over_time(tenant, endpoint, late)
    assert len(found) == 47
    assert (found[0].attempts, found[0].succeeded, found[0].p50_ms) == (1, 1, 10)
    assert (found[1].attempts, found[1].succeeded, found[1].p95_ms) == (1, 0, None)
    assert (found[-1].attempts, found[-1].p95_ms) == (0, None)
    assert sum(one.attempts for one in found) == 46
    assert {b.start_at - a.start_at for a, b in pairwise(found)} == {
        timedelta(minutes=1)
    }


def test_a_busy_stretch_is_judged_by_its_newest_attempts(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE_SAMPLE", 2)
    monkeypatch.setattr(module, "_MOST_BARS", 1)
    endpoint, _ = make_endpoint(tenant, URL)
    attempted(endpoint, (500, "http_error", 1), *[(204, "", 2)] * 3)
    with acting_for(tenant):
        found = attempts_over_time(tenant, endpoint, NOW)
    assert [(one.attempts, one.succeeded) for one in found if one.attempts] == [
        (2, 2),
        (1, 1),
    ]


def test_stretches_are_few_however_long_ago_the_latest_attempt_was(
    tenant: Tenant,
) -> None:
    endpoint, _ = make_endpoint(tenant, URL)
    attempted(endpoint, (204, "", 10))
    for age in (timedelta(), timedelta(hours=3), timedelta(days=400)):
        with acting_for(tenant):
            assert 1 <= len(attempts_over_time(tenant, endpoint, NOW + age)) <= 49


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"status": EndpointStatus.PENDING}, "has not consented"),
        ({"status": EndpointStatus.PAUSED}, "An admin paused it"),
        ({"status": EndpointStatus.DISABLED}, "disabled it"),
        (
            {"breaker": Breaker.OPEN, "hold_until": NOW + timedelta(seconds=5)},
            "breaker is open: it failed",
        ),
        ({"breaker": Breaker.OPEN, "hold_until": NOW}, "a probe is due"),
        ({"breaker": Breaker.HALF_OPEN}, "one probe"),
        ({"hold_until": NOW + timedelta(seconds=5)}, "It is held"),
        ({"oauth2_error": "401 from the token URL"}, "No OAuth 2 token"),
        ({"failing_since": NOW}, "No attempt succeeds"),
        ({"draining_since": NOW}, "being worked off"),
        ({"certificate_expires_at": NOW}, "certificate has ended"),
        ({"certificate_expires_at": NOW + timedelta(days=13)}, "certificate ends soon"),
        ({"allowed_rate_per_min": 60, "rate_used_until": NOW}, "Its rate lets no"),
        (
            {
                "max_rate_per_min": 1,
                "allowed_rate_per_min": 60,
                "rate_used_until": NOW - timedelta(seconds=60),
            },
            "Its rate lets no",
        ),
    ],
)
def test_what_holds_an_endpoint_up_is_said(fields: dict[str, Any], words: str) -> None:
    endpoint = Endpoint(url=URL, **{"status": EndpointStatus.ACTIVE, **fields})
    (found,) = hindrances(endpoint, [], NOW)
    assert words in found.words
    assert found.advice


def test_what_cannot_hold_anything_up_is_not_said() -> None:
    endpoint = Endpoint(
        url=URL,
        status=EndpointStatus.ACTIVE,
        draining_since=NOW,
        certificate_expires_at=NOW + timedelta(days=15),
    )
    assert hindrances(endpoint, [], NOW, is_waiting=False) == []


def test_a_rate_that_has_room_holds_nobody_up() -> None:
    endpoint = Endpoint(
        url=URL,
        status=EndpointStatus.ACTIVE,
        allowed_rate_per_min=60,
        rate_used_until=NOW - timedelta(seconds=5),
    )
    assert hindrances(endpoint, [], NOW) == []
    endpoint.max_rate_per_min, endpoint.rate_used_until = 30, NOW
    (found,) = hindrances(endpoint, [], NOW)
    assert found.advice == "At most 30 requests a minute: the limit in its settings."
    endpoint.draining_since = NOW
    (found,) = hindrances(endpoint, [], NOW)
    assert (found.words, found.advice) == (
        "What waited is being worked off.",
        "At most 30 requests a minute: the limit in its settings.",
    )


def test_an_endpoint_that_was_disabled_is_not_threatened_with_it() -> None:
    endpoint = Endpoint(url=URL, status=EndpointStatus.DISABLED, failing_since=NOW)
    (found,) = hindrances(endpoint, [], NOW)
    assert "disabled it" in found.words


def test_only_a_window_that_is_on_holds_an_endpoint_up() -> None:
    endpoint = Endpoint(url=URL, status=EndpointStatus.ACTIVE)
    hour = timedelta(hours=1)
    windows = [
        MaintenanceWindow(start_at=NOW + hour, end_at=NOW + 2 * hour, reason="later"),
        MaintenanceWindow(start_at=NOW - hour, end_at=NOW + hour, reason="new racks"),
        MaintenanceWindow(start_at=NOW - hour, end_at=NOW, reason="over"),
    ]
    (found,) = hindrances(endpoint, windows, NOW)
    assert (found.advice, found.until) == ("new racks.", NOW + hour)
    assert hindrances(endpoint, [], NOW) == []
