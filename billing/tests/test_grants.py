"""What the application's role may not do to what is billed by."""

import pytest
from django.db import ProgrammingError, connection

from tenants.database import acting_for
from tenants.models import Tenant


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM billing_account",
        "DELETE FROM billing_tariff",
        "DELETE FROM billing_tariffversion",
        "DELETE FROM billing_agreement",
        "DELETE FROM billing_billrun",
        "DELETE FROM billing_invoice",
        "DELETE FROM billing_invoiceline",
        "DELETE FROM billing_invoicecounter",
        "UPDATE billing_account SET number = 'x'",
        "UPDATE billing_tariff SET code = 'x'",
        "UPDATE billing_tariffversion SET valid_from_date = '2016-01-01'",
    ],
)
def test_the_console_deletes_nothing_and_rewrites_no_price(
    tenant: Tenant, statement: str
) -> None:
    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        acting_for(tenant),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
