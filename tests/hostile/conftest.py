"""What the hostile tests share: a listener in this process, one in its own, sources."""

from collections.abc import Generator

import pytest

from ingest.tests.listening import Running, Sender, new_sender, running_listener
from tenants.models import Tenant
from tests.hostile.inprocess import Wire, wired


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `pytest tests/hostile --api-examples 100 --whole-bombs` take longer."""
    parser.addoption("--api-examples", type=int, default=API_EXAMPLES)
    parser.addoption("--whole-bombs", action="store_true")


#: Examples of each operation of the API, for each kind of data and of ids.
API_EXAMPLES = 5


@pytest.fixture(scope="package")
def wire() -> Generator[Wire, None, None]:
    """A listener's core, asked directly."""
    with wired() as running:
        yield running


@pytest.fixture(scope="package")
def listener(
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[Running, None, None]:
    """A listener behind a real socket; its log is free of faults in the end."""
    with running_listener(tmp_path_factory.mktemp("hostile")) as running:
        yield running
    log = running.output.read_text()
    assert [word for word in FAULTS if word in log] == []


#: What no input may bring into a log.
FAULTS = ("Traceback", "panicked", "[ERROR]", "Exception")


@pytest.fixture
def sender(tenant: Tenant) -> Sender:
    """A source of the `hub` scheme."""
    return new_sender(tenant)


@pytest.fixture
def standard(tenant: Tenant) -> Sender:
    """A source of the `standard` scheme."""
    return new_sender(tenant, "standard")
