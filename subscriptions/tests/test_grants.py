"""What the application's role may not do to endpoints and their log."""

import pytest
from django.db import ProgrammingError, connection

from tenants.database import acting_for
from tenants.models import Tenant


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM subscriptions_endpoint",
        "DELETE FROM subscriptions_message",
        "DELETE FROM subscriptions_delivery",
        "DELETE FROM subscriptions_attempt",
        "UPDATE subscriptions_message SET body = ''",
        "UPDATE subscriptions_attempt SET error = ''",
    ],
)
def test_the_console_deletes_no_endpoint_and_rewrites_no_log(
    tenant: Tenant, statement: str
) -> None:
    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        acting_for(tenant),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
