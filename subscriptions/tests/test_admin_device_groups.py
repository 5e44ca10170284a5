"""Device groups in the console."""

from typing import Any

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from subscriptions.models import DeviceGroup
from subscriptions.tests.delivering import make_endpoint
from tenants.database import acting_for
from tenants.models import Role, Tenant
from tenants.services import NewTenant
from tests.visitors import visitor

ADD = "admin:subscriptions_devicegroup_add"
LIST = "admin:subscriptions_devicegroup_changelist"


def the_group(tenant: Tenant) -> DeviceGroup:
    with acting_for(tenant):
        return DeviceGroup.objects.get(tenant=tenant)


def address(name: str, group: DeviceGroup, *more: Any) -> str:
    route = f"admin:subscriptions_devicegroup_{name}"
    return reverse(route, args=[group.pk, *more])


def test_a_group_is_made_changed_and_deleted(tenant: Tenant) -> None:
    browser = visitor(tenant)
    browser.post(reverse(ADD), {"name": "North", "devices": "WM-1\r\n\r\n WM-2* \r\n"})
    group = the_group(tenant)
    assert (group.name, group.devices) == ("North", ["WM-1", "WM-2*"])
    shown = browser.get(address("change", group)).content.decode()
    assert "2 names" in shown
    form = browser.get(address("edit", group)).content.decode()
    assert "WM-2*" in form
    browser.post(address("edit", group), {"name": "South", "devices": "GM-7"})
    changed = the_group(tenant)
    assert (changed.pk, changed.name, changed.devices) == (group.pk, "South", ["GM-7"])
    browser.post(address("do", group, "delete"))
    with acting_for(tenant):
        assert not DeviceGroup.objects.filter(tenant=tenant).exists()


def test_the_list_names_three_devices_and_reads_no_more(tenant: Tenant) -> None:
    browser = visitor(tenant)
    for name, count in (("none", 0), ("three", 3), ("many", 1_205)):
        devices = "\n".join(f"WM-{number:04}" for number in range(count))
        browser.post(reverse(ADD), {"name": name, "devices": devices})
    with CaptureQueriesContext(connection) as captured:
        page = browser.get(reverse(LIST)).content.decode()
    assert "WM-0000, WM-0001, WM-0002<" in page
    assert "WM-0000, WM-0001, WM-0002 and 1,202 more" in page
    assert "WM-0003" not in page
    assert not any('"devices", "' in one["sql"] for one in captured)


def test_a_group_that_an_endpoint_names_shows_it_and_stays(tenant: Tenant) -> None:
    browser = visitor(tenant)
    browser.post(reverse(ADD), {"name": "North", "devices": "WM-1"})
    group = the_group(tenant)
    url = "http://127.0.0.1:9/north"
    make_endpoint(tenant, url, filters={"device_groups": ["North"]})
    assert url in browser.get(address("change", group)).content.decode()
    refused = browser.post(address("do", group, "delete"), follow=True)
    assert url in refused.content.decode()
    assert the_group(tenant).name == "North"


def test_a_name_that_is_taken_is_said_above_the_form(tenant: Tenant) -> None:
    browser = visitor(tenant)
    asked = {"name": "North", "devices": ""}
    browser.post(reverse(ADD), asked)
    assert "There is a group" in browser.post(reverse(ADD), asked).content.decode()
    assert the_group(tenant).devices == []


def test_neither_a_stranger_nor_an_auditor_changes_a_group(
    tenant: Tenant, stranger: NewTenant
) -> None:
    visitor(tenant).post(reverse(ADD), {"name": "North", "devices": "WM-1"})
    edit = address("edit", the_group(tenant))
    sent = {"name": "mine", "devices": ""}
    auditor = visitor(tenant, Role.AUDITOR)

    def statuses(browser: Client) -> set[int]:
        return {browser.get(edit).status_code, browser.post(edit, sent).status_code}

    assert statuses(visitor(stranger.tenant)) == {404}
    assert statuses(auditor) == {403}
    assert auditor.post(reverse(ADD), sent).status_code == 403
    assert the_group(tenant).name == "North"
