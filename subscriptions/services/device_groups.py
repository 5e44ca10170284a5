"""Devices under one name, for the filters of endpoints."""

import itertools
from collections.abc import Iterable, Sequence

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from subscriptions.filtering import FiltersInvalid, why_no_name
from subscriptions.models import DeviceGroup, Endpoint
from tenants.actors import Actor
from tenants.models import Tenant
from tenants.problems import Conflict, NotFound, Problem
from tenants.services import record_audit

#: Groups of a tenant, and names in one of them.
MOST_GROUPS = 1_000
MOST_DEVICES = 100_000
MOST_CHARACTERS = 100


class DeviceGroupInvalid(Problem):
    """Its name, or one of its devices, cannot be."""

    code = "device_group_invalid"
    title = "The device group cannot be"


class DeviceGroupUnknown(NotFound):
    """There is no such group."""

    code = "device_group_unknown"


class DeviceGroupNameTaken(Conflict):
    """Another group has this name."""

    code = "device_group_name_taken"
    title = "The name is taken"


class DeviceGroupInUse(Conflict):
    """Endpoints filter by it, under its name."""

    code = "device_group_in_use"
    title = "The device group is in use"


class DeviceGroupLimitReached(Conflict):
    """The tenant has as many groups as it may."""

    code = "device_group_limit_reached"
    title = "There are too many device groups"


@transaction.atomic
def save_group(
    *,
    tenant: Tenant,
    actor: Actor,
    name: str,
    devices: Iterable[str],
    group: DeviceGroup | None = None,
) -> DeviceGroup:
    """
    Make a group, or give one another name and other devices.

    Endpoints that filter by it hear by its new devices from the next event on.
    Raises: DeviceGroupInvalid, DeviceGroupNameTaken, DeviceGroupUnknown;
    DeviceGroupInUse: it is renamed, and endpoints name it.
    """
    kept = _checked(name, devices)
    saved = _made(tenant, name) if group is None else _locked(tenant, group)
    if saved.name != name:
        _refuse_in_use(tenant, saved)
    saved.name, saved.devices, saved.updated_at = name, kept, Now()
    try:
        with transaction.atomic():
            saved.save()
    except IntegrityError as error:
        if "device_group_name_unique" not in str(error):
            raise
        raise DeviceGroupNameTaken(f"There is a group {name!r} already.") from error
    record_audit(
        actor=actor,
        action="device_group.saved",
        subject=saved.public_id,
        detail={"name": name, "devices": len(kept)},
    )
    saved.refresh_from_db()
    return saved


@transaction.atomic
def delete_group(*, tenant: Tenant, actor: Actor, group: DeviceGroup) -> None:
    """
    Delete a group that no endpoint filters by.

    Raises: DeviceGroupUnknown, DeviceGroupInUse.
    """
    current = _locked(tenant, group)
    _refuse_in_use(tenant, current)
    record_audit(
        actor=actor,
        action="device_group.deleted",
        subject=current.public_id,
        detail={"name": current.name, "devices": len(current.devices)},
    )
    current.delete()


def hold_groups(tenant: Tenant, names: Iterable[str]) -> None:
    """
    Have nobody delete or rename these groups before an endpoint's filters name them.

    They stay locked until the transaction ends.
    Raises: FiltersInvalid: there is no such group.
    """
    asked = set(names)
    if not asked:
        return
    rows = DeviceGroup.objects.select_for_update(no_key=True).order_by("name")
    found = rows.filter(tenant=tenant, name__in=asked).values_list("name", flat=True)
    missing = sorted(asked - set(found))
    if missing:
        raise FiltersInvalid(f"device_groups: there is no group {missing[0]!r}.")


def endpoints_using(tenant: Tenant, name: str) -> QuerySet[Endpoint]:
    """Return the endpoints whose filters name the group."""
    return Endpoint.objects.filter(
        tenant=tenant,
        deleted_at__isnull=True,
        filters__contains={"device_groups": [name]},
    )


def _checked(name: str, devices: Iterable[str]) -> list[str]:
    problem = why_no_name(name)
    if not problem and len(name) > MOST_CHARACTERS:
        problem = f"1 to {MOST_CHARACTERS} characters are expected."
    if problem:
        raise DeviceGroupInvalid(f"name: {problem}")
    if isinstance(devices, str):
        raise DeviceGroupInvalid("devices: a list is expected.")
    given: Sequence[str] = list(itertools.islice(devices, MOST_DEVICES + 1))
    if len(given) > MOST_DEVICES:
        raise DeviceGroupInvalid(f"devices: more than {MOST_DEVICES:,} names.")
    for place, device in enumerate(given):
        problem = why_no_name(device)
        if problem:
            raise DeviceGroupInvalid(f"devices[{place}]: {problem}")
    return sorted(set(given))


def _made(tenant: Tenant, name: str) -> DeviceGroup:
    if DeviceGroup.objects.filter(tenant=tenant).count() >= MOST_GROUPS:
        raise DeviceGroupLimitReached(f"A tenant has at most {MOST_GROUPS:,} groups.")
    return DeviceGroup(tenant=tenant, name=name)


def _locked(tenant: Tenant, group: DeviceGroup) -> DeviceGroup:
    rows = DeviceGroup.objects.select_for_update()
    found = rows.filter(tenant=tenant, pk=group.pk).first()
    if found is None:
        raise DeviceGroupUnknown("There is no such device group.")
    return found


def _refuse_in_use(tenant: Tenant, group: DeviceGroup) -> None:
    urls = endpoints_using(tenant, group.name).values_list("url", flat=True)
    first = urls.first()
    if first is not None:
        raise DeviceGroupInUse(f"The filters of the endpoint {first} name it.")
