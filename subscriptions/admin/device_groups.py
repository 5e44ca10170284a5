"""Device groups: devices under one name, for the filters of endpoints."""

from collections.abc import Callable, Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.decorators import display

from subscriptions.models import DeviceGroup
from subscriptions.queries.endpoints import without_devices
from subscriptions.services.device_groups import (
    MOST_CHARACTERS,
    delete_group,
    endpoints_using,
    save_group,
)
from tenants.actors import actor_of
from tenants.console.forms import ConsoleForm
from tenants.console.pages import Button, TenantAdmin, actor_and_tenant

#: Devices that the page of a group lists.
_SHOWN = 1_000


class DeviceGroupForm(ConsoleForm):
    """A device group."""

    name = forms.CharField(
        max_length=MOST_CHARACTERS, help_text="A district, a building, a customer."
    )
    devices = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 12}),
        required=False,
        strip=False,
        help_text="Their ids, one a line. WM-* stands for all that begin so.",
    )

    def clean_devices(self) -> list[str]:
        """Return the devices, one of each line."""
        lines = self.cleaned_data["devices"].splitlines()
        return [line.strip() for line in lines if line.strip()]


@admin.register(DeviceGroup)
class DeviceGroupAdmin(TenantAdmin):
    """Device groups."""

    add_form = DeviceGroupForm
    add_intro = "An endpoint that is filtered by a group hears of its devices alone."
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
    def named(self, group: Any) -> str:
        """Return the first devices, and how many more there are."""
        first = ", ".join(group.first)
        more = group.size - len(group.first)
        return f"{first} and {more:,} more" if more > 0 else first

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeviceGroup]:
        """Return the groups; the page of one reads its devices, the list does not."""
        return without_devices(super().get_queryset(request))

    def detail(self, request: HttpRequest, thing: DeviceGroup) -> dict[str, Any]:
        """Return a group with its devices, and who is filtered by it."""
        tenant = actor_of(request).tenant
        return {
            "devices": sorted(thing.devices)[:_SHOWN],
            "device_count": len(thing.devices),
            "endpoints": endpoints_using(tenant, thing.name),
            "links": self.form_link(request, thing, "edit", "edit", "Change"),
        }

    def buttons(self, request: HttpRequest, thing: DeviceGroup) -> Sequence[Button]:
        """Return deleting it."""
        question = "Delete this group? Its devices stay."
        return (Button("delete", "Delete", "delete", "danger", question),)

    def more_pages(self) -> Sequence[tuple[str, str, Callable[..., HttpResponse]]]:
        """Return the form for changes."""
        return (("<uuid:object_id>/edit/", "edit", self.edit_view),)

    def create(self, request: HttpRequest, data: dict[str, Any]) -> HttpResponse:
        """Make a group."""
        return self.to_page(save_group(**actor_and_tenant(request), **data))

    def edit_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the form for changes, and take it."""
        group = self.writable(request, str(object_id))

        def save(data: dict[str, Any]) -> HttpResponse:
            return self.to_page(
                save_group(**actor_and_tenant(request), group=group, **data)
            )

        return self.form_page(
            request,
            DeviceGroupForm,
            save,
            thing=group,
            title=f"Change {group.name}",
            initial={"name": group.name, "devices": "\n".join(group.devices)},
        )

    def do_delete(self, request: HttpRequest, thing: DeviceGroup) -> HttpResponse:
        """Delete a group."""
        delete_group(**actor_and_tenant(request), group=thing)
        messages.success(request, f"{thing.name} is deleted.")
        return self.to_list()
