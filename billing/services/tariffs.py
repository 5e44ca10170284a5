"""Writes about tariffs: price lists whose versions follow one another by date."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db import IntegrityError, transaction

from billing.charges import decode_charges, encode_charges
from billing.models import Tariff, TariffVersion
from tenants.actors import Actor
from tenants.models import Tenant
from tenants.problems import Conflict
from tenants.services import record_audit


class TariffExists(Conflict):
    """A tariff has this code already."""

    code = "tariff_exists"


class TariffVersionExists(Conflict):
    """The tariff has a version from this day on already."""

    code = "tariff_version_exists"


@dataclass(frozen=True)
class NewVersion:
    """The charges of a tariff from a day on, as decoded JSON."""

    valid_from_date: date
    charges: Any


@transaction.atomic
def create_tariff(
    *,
    tenant: Tenant,
    actor: Actor,
    code: str,
    name: str,
    versions: Sequence[NewVersion] = (),
) -> Tariff:
    """
    Create a tariff with its first versions.

    Raises: TariffExists, TariffVersionExists, ChargesInvalid.
    """
    try:
        with transaction.atomic():
            tariff = Tariff.objects.create(tenant=tenant, code=code, name=name)
    except IntegrityError as error:
        raise TariffExists(f"There is a tariff {code!r} already.") from error
    record_audit(actor=actor, action="tariff.created", subject=code)
    for version in versions:
        add_tariff_version(tenant=tenant, actor=actor, tariff=tariff, version=version)
    return tariff


@transaction.atomic
def add_tariff_version(
    *, tenant: Tenant, actor: Actor, tariff: Tariff, version: NewVersion
) -> TariffVersion:
    """
    Set the charges from a day on, until the next version's day.

    Raises: TariffVersionExists, ChargesInvalid.
    """
    charges = encode_charges(decode_charges(version.charges))
    try:
        with transaction.atomic():
            added = TariffVersion.objects.create(
                tenant=tenant,
                tariff=tariff,
                valid_from_date=version.valid_from_date,
                charges=charges,
            )
    except IntegrityError as error:
        raise TariffVersionExists(
            f"{tariff.code} has a version from {version.valid_from_date} already."
        ) from error
    record_audit(
        actor=actor,
        action="tariff.version_added",
        subject=tariff.code,
        detail={
            "valid_from_date": version.valid_from_date.isoformat(),
            "charges": charges,
        },
    )
    return added
