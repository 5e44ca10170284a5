"""Sources and devices in the console."""

from datetime import date

import pytest
from django.test import Client
from django.urls import reverse

from ingest.models import (
    Channel,
    Device,
    DeviceStatus,
    Source,
)
from ingest.services.sources import create_source
from tenants.actors import Actor
from tenants.database import acting_for, pipeline
from tenants.models import Tenant
from tests.visitors import visitor


@pytest.fixture
def browser(tenant: Tenant) -> Client:
    return visitor(tenant)


@pytest.fixture
def source(tenant: Tenant, actor: Actor) -> Source:
    with acting_for(tenant):
        made, _ = create_source(tenant=tenant, actor=actor, name="North", scheme="hub")
    return made


def test_a_new_source_shows_url_secret_and_example_once(
    browser: Client, tenant: Tenant
) -> None:
    asked = {"name": "North", "scheme": "standard", "register_devices": "auto"}
    page = browser.post(
        reverse("admin:ingest_source_add"),
        {**asked, "allowed_cidrs": "192.0.2.0/24\n2001:db8::/32"},
    )["Location"]
    shown = browser.get(page).content.decode()
    with acting_for(tenant):
        source = Source.objects.get(tenant=tenant)
    assert source.allowed_cidrs == ["192.0.2.0/24", "2001:db8::/32"]
    assert f"/v1/callbacks/{source.public_id}" in shown
    assert shown.count("whsec_") > 1
    assert "SECRET=&#x27;whsec_" in shown or "SECRET='whsec_" in shown
    assert "whsec_A" not in browser.get(page).content.decode()


def test_a_network_that_is_none_is_refused_in_the_form(
    browser: Client, source: Source
) -> None:
    refused = browser.post(
        reverse("admin:ingest_source_edit", args=[source.pk]),
        {"name": "N", "register_devices": "auto", "allowed_cidrs": "everywhere"},
    )
    assert "everywhere" in refused.content.decode()
    assert refused.status_code == 200


def test_a_source_is_turned_off_and_on_and_changed(
    browser: Client, tenant: Tenant, source: Source
) -> None:
    for button, enabled in (("disable", False), ("enable", True)):
        browser.post(reverse("admin:ingest_source_do", args=[source.pk, button]))
        with acting_for(tenant):
            source.refresh_from_db()
        assert source.enabled is enabled
    browser.post(
        reverse("admin:ingest_source_edit", args=[source.pk]),
        {"name": "South", "register_devices": "known_only", "rate_limit_per_s": "9"},
    )
    with acting_for(tenant):
        source.refresh_from_db()
    assert (source.name, source.rate_limit_per_s) == ("South", 9)


def test_a_quarantined_device_is_approved(browser: Client, tenant: Tenant) -> None:
    with acting_for(tenant):
        device = Device.objects.create(
            tenant=tenant, name="WM-1", status=DeviceStatus.QUARANTINED
        )
    browser.post(reverse("admin:ingest_device_do", args=[device.pk, "approve"]))
    with acting_for(tenant):
        device.refresh_from_db()
    assert device.status == DeviceStatus.ACTIVE


def test_a_devices_month_has_a_bar_for_each_day_and_its_sum(
    browser: Client, tenant: Tenant
) -> None:
    with acting_for(tenant):
        device = Device.objects.create(tenant=tenant, name="WM-1")
        channel = Channel.objects.create(
            tenant=tenant, device=device, code="main", kind="interval", unit="kWh"
        )
    with pipeline() as lane:
        for day, value, actual_s, estimated_s in (
            (date(2024, 2, 1), "1.5", 86_400, 0),
            (date(2024, 2, 29), "2.25", 43_200, 21_600),
        ):
            lane.execute(
                "INSERT INTO ingest_usage VALUES (%s, %s, %s, %s, 86400, %s, %s, 24)",
                [tenant.pk, channel.pk, day, value, actual_s, estimated_s],
            )
    page = browser.get(reverse("admin:ingest_device_change", args=[device.pk]))
    assert page.context_data is not None
    context = page.context_data
    usage, coverage = context["usage_spec"], context["coverage_spec"]
    assert len(usage["labels"]) == 29
    assert context["total"] == "3.75"
    assert usage["datasets"][0]["data"][0] == 1.5
    assert [series["data"][28] for series in usage["datasets"]] == [1.5, 0.75]
    assert [series["data"][28] for series in coverage["datasets"]] == [50, 25, 25]
    assert [series["data"][1] for series in coverage["datasets"]] == [0, 0, 100]


def test_a_devices_sum_is_exact(browser: Client, tenant: Tenant) -> None:
    with acting_for(tenant):
        device = Device.objects.create(tenant=tenant, name="WM-1")
        channel = Channel.objects.create(
            tenant=tenant, device=device, code="main", kind="interval", unit="kWh"
        )
    with pipeline() as lane:
        for day, value in ((1, "12345678901234567890.5"), (2, "0.000000000123456789")):
            lane.execute(
                "INSERT INTO ingest_usage VALUES (%s, %s, %s, %s, 86400, 86400, 0, 24)",
                [tenant.pk, channel.pk, date(2024, 2, day), value],
            )
    page = browser.get(reverse("admin:ingest_device_change", args=[device.pk]))
    assert page.context_data is not None
    assert page.context_data["total"] == "12345678901234567890.500000000123456789"
