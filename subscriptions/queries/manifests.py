"""Reading manifests, and the messages that each is about."""

from datetime import date

from django.db.models import QuerySet

from subscriptions.models import Delivery, Endpoint, Manifest, MessageDevice
from subscriptions.queries.redeliveries import CLOCK_MARGIN
from tenants.identifiers import first_id
from tenants.models import Tenant


def manifests_of(tenant: Tenant, endpoint: Endpoint) -> QuerySet[Manifest]:
    """Return the endpoint's manifests, the latest day first."""
    found = Manifest.objects.filter(tenant=tenant, endpoint=endpoint)
    return found.order_by("-day_date")


def manifest_of(tenant: Tenant, endpoint: Endpoint, day: date) -> Manifest | None:
    """Return the manifest of a day; None: there is none."""
    return manifests_of(tenant, endpoint).filter(day_date=day).first()


def deliveries_of_manifest(
    tenant: Tenant, manifest: Manifest, device: str = ""
) -> QuerySet[Delivery]:
    """
    Return the deliveries of the manifest's messages, in the order of their ids.

    `device`: those about it alone.
    """
    found = Delivery.objects.filter(
        tenant=tenant,
        endpoint=manifest.endpoint_id,
        # By index delivery_once: ids are of the workers' clocks.
        message_id__gte=first_id(manifest.start_at - CLOCK_MARGIN),
        message_id__lt=first_id(manifest.end_at + CLOCK_MARGIN),
        created_at__gte=manifest.start_at,
        created_at__lt=manifest.end_at,
    )
    if device:
        about = MessageDevice.objects.filter(tenant=tenant, device=device)
        found = found.filter(message_id__in=about.values("message_id"))
    return found.order_by("message_id")
