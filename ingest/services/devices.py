"""What a person decides about devices and channels."""

from django.db import transaction

from ingest.models import Channel, Device, DeviceStatus
from tenants.actors import Actor
from tenants.models import Tenant
from tenants.services import record_audit


@transaction.atomic
def approve_device(*, tenant: Tenant, actor: Actor, device: Device) -> Device:
    """
    Let the device's readings count from now on.

    What was refused meanwhile waits as rejected callbacks, to be processed again.
    """
    return _set_status(tenant, actor, device, DeviceStatus.ACTIVE, "device.approved")


@transaction.atomic
def quarantine_device(*, tenant: Tenant, actor: Actor, device: Device) -> Device:
    """Refuse the device's readings, within the time that workers remember it (10 s)."""
    return _set_status(
        tenant, actor, device, DeviceStatus.QUARANTINED, "device.quarantined"
    )


@transaction.atomic
def set_commodity(
    *, tenant: Tenant, actor: Actor, channel: Channel, commodity: str
) -> Channel:
    """Say what a channel measures."""
    Channel.objects.filter(tenant=tenant, pk=channel.pk).update(commodity=commodity)
    record_audit(
        actor=actor,
        action="channel.commodity_set",
        subject=channel.device.name,
        detail={
            "channel": channel.code,
            "from": channel.commodity,
            "to": commodity,
        },
    )
    channel.commodity = commodity
    return channel


def _set_status(
    tenant: Tenant, actor: Actor, device: Device, status: DeviceStatus, action: str
) -> Device:
    changed = (
        Device.objects.filter(tenant=tenant, pk=device.pk)
        .exclude(status=status)
        .update(status=status)
    )
    if changed:
        record_audit(actor=actor, action=action, subject=device.name)
    device.status = status
    return device
