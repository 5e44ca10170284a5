"""Writes about accounts: the customers who are billed."""

import re

from django.db import IntegrityError, transaction

from billing.models import Account
from tenants.actors import Actor
from tenants.models import Tenant
from tenants.problems import Conflict, Problem
from tenants.services import record_audit


class AccountExists(Conflict):
    """An account has this number already."""

    code = "account_exists"


class AccountNumberInvalid(Problem):
    """The number could not stand in an address."""

    code = "account_number_invalid"


_NUMBER = re.compile(r"[\w.\- ]{1,32}")


@transaction.atomic
def create_account(
    *, tenant: Tenant, actor: Actor, number: str, name: str, address: str = ""
) -> Account:
    """
    Open an account.

    Raises: AccountExists, AccountNumberInvalid.
    """
    if not _NUMBER.fullmatch(number):
        raise AccountNumberInvalid(
            "An account's number has 1 to 32 letters, digits, spaces and any of . _ -"
        )
    try:
        with transaction.atomic():
            account = Account.objects.create(
                tenant=tenant, number=number, name=name, address=address
            )
    except IntegrityError as error:
        raise AccountExists(f"There is an account {number!r} already.") from error
    record_audit(actor=actor, action="account.created", subject=number)
    return account
