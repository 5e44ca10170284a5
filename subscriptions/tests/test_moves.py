"""Results that come from a URL which its endpoint has no more."""

import pytest

from subscriptions.models import Endpoint
from subscriptions.services.delivering.claims import Claimed
from subscriptions.services.delivering.recording import Result, record
from subscriptions.tests.delivering import (
    attempts,
    claimed_of,
    deliveries,
    make_endpoint,
    outcome,
    publish_to,
    record_all,
    set_endpoint,
)
from tenants.models import Tenant

OLD = "https://old.example/hook"
#: With what an array's text must not be confused by.
NEW = 'https://new.example/hook?a="b\\c"&d={e,NULL}'


@pytest.fixture
def endpoint(tenant: Tenant) -> Endpoint:
    """One that is sent to while its URL changes."""
    made, _ = make_endpoint(tenant, OLD)
    publish_to(tenant, 2)
    return made


def moved(tenant: Tenant, endpoint: Endpoint) -> list[Claimed]:
    """Move it while its messages are on their way; return their claims."""
    claims = claimed_of(tenant)
    assert len(claims) == 2
    set_endpoint(endpoint, url=NEW)
    return claims


@pytest.mark.parametrize("status", [410, 429, 500])
def test_late_failure_of_the_old_url_says_nothing_of_the_new_one(
    tenant: Tenant, endpoint: Endpoint, status: int
) -> None:
    late = outcome(status, headers={"retry-after": "600"})
    record_all(moved(tenant, endpoint), late, evidence_s=1.0)
    now = set_endpoint(endpoint)
    assert (now.status, now.breaker) == ("active", "closed")
    assert (now.failing_since, now.hold_until) == (None, None)
    assert [one.url for one in attempts(tenant)] == [OLD] * 2
    assert {one.status for one in deliveries(tenant)} == {"pending"}


def test_late_success_of_the_old_url_hides_no_failure_of_the_new_one(
    tenant: Tenant, endpoint: Endpoint
) -> None:
    claims = moved(tenant, endpoint)
    publish_to(tenant, 1)
    (fresh,) = claimed_of(tenant)
    assert fresh.destination.url == NEW
    old = [Result(one, outcome(204)) for one in claims]
    record([*old, Result(fresh, outcome(500))])
    assert set_endpoint(endpoint).failing_since is not None
    assert len(attempts(tenant)) == 3


def test_url_in_force_is_told_of_however_it_is_written(
    tenant: Tenant, endpoint: Endpoint
) -> None:
    set_endpoint(endpoint, url=NEW)
    record_all(claimed_of(tenant), outcome(500))
    assert set_endpoint(endpoint).failing_since is not None
