"""Device groups: devices under one name, for the filters of endpoints."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display

from subscriptions.models import DeviceGroup
from tenants.console.pages import TenantAdmin

_NAMED = 3


@admin.register(DeviceGroup)
class DeviceGroupAdmin(TenantAdmin):
    """Device groups."""

    detail_template = "console/device_group.html"
    empty_title = "No device group yet"
    empty_text = (
        "A group names many devices at once, so that an endpoint can hear of these "
        "alone: a district, a building, a customer."
    )
    list_display = ("name", "named", "updated_at")
    search_fields = ("name",)
    ordering = ("name",)

    @display(description="Devices")
    def named(self, group: DeviceGroup) -> str:
        """Return the first devices, and how many more there are."""
        first = ", ".join(group.devices[:_NAMED])
        more = len(group.devices) - _NAMED
        return f"{first} and {more:,} more" if more > 0 else first

    def detail(self, request: HttpRequest, thing: DeviceGroup) -> dict[str, Any]:
        """Return a group with its devices."""
        return {"devices": sorted(thing.devices)}
