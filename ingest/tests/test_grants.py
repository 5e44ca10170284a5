"""What the application's role may not do to what came in."""

import pytest
from django.db import ProgrammingError, connection

from ingest.tests.accepting import Inlet, interval
from tenants.database import acting_for
from tenants.models import Tenant

MIDNIGHT = "2016-01-01T00:00:00+01:00"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ingest_callback SET digest = 'x'",
        "UPDATE ingest_callback SET transaction_id = 'x'",
        "UPDATE ingest_callback SET received_at = now()",
        "DELETE FROM ingest_callback",
        "UPDATE ingest_reading SET value = 0",
        "DELETE FROM ingest_source",
        "DELETE FROM ingest_device",
        "DELETE FROM ingest_channel",
    ],
)
def test_the_console_cannot_rewrite_what_came_in(
    tenant: Tenant, lane: Inlet, statement: str
) -> None:
    lane.settle([interval(MIDNIGHT)])
    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        acting_for(tenant),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
