"""Finding by the name that callers use; another tenant's does not exist."""

from billing.models import Account, Tariff
from ingest.models import Device
from tenants.models import Tenant
from tenants.problems import Problem


class AccountUnknown(Problem):
    """There is no account with this number."""

    code = "account_unknown"


class TariffUnknown(Problem):
    """There is no tariff with this code."""

    code = "tariff_unknown"


class DeviceUnknown(Problem):
    """There is no device with this name."""

    code = "device_unknown"


def account_numbered(*, tenant: Tenant, number: str) -> Account:
    """
    Return the account.

    Raises: AccountUnknown.
    """
    account = Account.objects.filter(tenant=tenant, number=number).first()
    if account is None:
        raise AccountUnknown(f"There is no account {number!r}.")
    return account


def tariff_coded(*, tenant: Tenant, code: str) -> Tariff:
    """
    Return the tariff.

    Raises: TariffUnknown.
    """
    tariff = Tariff.objects.filter(tenant=tenant, code=code).first()
    if tariff is None:
        raise TariffUnknown(f"There is no tariff {code!r}.")
    return tariff


def device_named(*, tenant: Tenant, name: str) -> Device:
    """
    Return the device.

    Raises: DeviceUnknown.
    """
    device = Device.objects.filter(tenant=tenant, name=name).first()
    if device is None:
        raise DeviceUnknown(f"There is no device {name!r}.")
    return device
