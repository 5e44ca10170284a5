"""What the listener's tests share: one running listener, and sources that sign."""

from collections.abc import Generator

import pytest

from ingest.tests.accepting import Inlet, inlet
from ingest.tests.listening import Running, Sender, new_sender, running_listener
from tenants.models import Tenant


@pytest.fixture(scope="session")
def listener(
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[Running, None, None]:
    with running_listener(tmp_path_factory.mktemp("listener"), workers=2) as running:
        yield running


@pytest.fixture
def sender(tenant: Tenant) -> Sender:
    return new_sender(tenant)


@pytest.fixture
def standard(tenant: Tenant) -> Sender:
    return new_sender(tenant, "standard")


@pytest.fixture
def lane(tenant: Tenant) -> Inlet:
    """The owner's way into the ledger."""
    return inlet(tenant)
