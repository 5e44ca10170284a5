"""What every test of subscriptions leaves behind: nothing that is due."""

from collections.abc import Generator

import pytest

from subscriptions.models import Endpoint
from tenants.database import acting_for
from tenants.services import NewTenant


@pytest.fixture(autouse=True)
def quiet_afterwards(request: pytest.FixtureRequest) -> Generator[None]:
    """Pause the tenants' endpoints, so that the next test's worker has none of them."""
    made: list[NewTenant] = [
        request.getfixturevalue(name)
        for name in ("new_tenant", "stranger")
        if name in request.fixturenames
    ]
    yield
    for one in made:
        with acting_for(one.tenant):
            Endpoint.objects.filter(tenant=one.tenant).update(status="paused")
