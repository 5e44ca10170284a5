"""Accounts, tariffs, agreements, runs and the report in the console."""

from datetime import date
from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from billing.admin.invoices import money
from billing.admin.runs import month_start
from billing.models import (
    Account,
    Agreement,
    BillRun,
    InvoiceCounter,
    Tariff,
    TariffVersion,
)
from billing.tests.metering import meter_days, new_customer
from billing.tests.running import JULY, carry, invoices_of, request_run
from ingest.models import Device
from tenants.database import acting_for
from tenants.models import Role, Tenant
from tenants.services import NewTenant
from tests.visitors import visitor

TARIFF = {
    "code": "home",
    "name": "Home",
    "valid_from_date": "2026-01-01",
    "unit_price": "0.25",
    "unit": "kWh",
    "price_per_day": "0.10",
}


@pytest.fixture
def clerk(tenant: Tenant) -> Client:
    return visitor(tenant, Role.CLERK)


def add(browser: Client, what: str, asked: dict[str, str]) -> str:
    """Return the page that follows, or the form with its errors."""
    route = reverse(f"admin:billing_{what}_add")
    return browser.post(route, asked, follow=True).content.decode()


def test_a_clerk_prepares_a_bill_from_forms_alone(
    clerk: Client, tenant: Tenant
) -> None:
    with acting_for(tenant):
        Device.objects.create(tenant=tenant, name="WM-1")
    add(clerk, "account", {"number": "A-1", "name": "Eline", "address": "Here 1"})
    assert "0.25 EUR for each kWh" in add(clerk, "tariff", TARIFF)
    with acting_for(tenant):
        tariff = Tariff.objects.get(tenant=tenant)
        version = TariffVersion.objects.get(tenant=tenant)
    assert version.charges == [
        {"type": "consumption", "unit_price": "0.25", "unit": "kWh", "description": ""},
        {"type": "standing", "price_per_day": "0.10", "description": ""},
    ]
    agreed = {
        "account": "A-1",
        "device": "WM-1",
        "channel_code": "main",
        "tariff": str(tariff.pk),
        "start_date": "2026-01-01",
    }
    add(clerk, "agreement", agreed)
    assert "billed to an account on some" in add(clerk, "agreement", agreed)
    with acting_for(tenant):
        agreement = Agreement.objects.get(tenant=tenant)
    end = reverse("admin:billing_agreement_end", args=[agreement.pk])
    clerk.post(end, {"end_date": "2026-06-01"})
    with acting_for(tenant):
        agreement.refresh_from_db()
    assert agreement.end_date == date(2026, 6, 1)


def test_a_tariff_gets_a_further_version_once(clerk: Client, tenant: Tenant) -> None:
    add(clerk, "tariff", TARIFF)
    with acting_for(tenant):
        tariff = Tariff.objects.get(tenant=tenant)
    route = reverse("admin:billing_tariff_version", args=[tariff.pk])
    later = {"valid_from_date": "2027-01-01", "unit": "kWh", "unit_price": "0.30"}
    assert clerk.post(route, later).status_code == 302
    assert "has a version from" in clerk.post(route, later).content.decode()
    free = {"valid_from_date": "2028-01-01", "unit": "kWh"}
    assert "Give a price" in clerk.post(route, free).content.decode()


def test_another_tenants_account_device_and_tariff_are_not_chosen(
    clerk: Client, tenant: Tenant, stranger: NewTenant
) -> None:
    theirs = visitor(stranger.tenant)
    add(theirs, "account", {"number": "B-1", "name": "Theirs"})
    add(theirs, "tariff", TARIFF)
    with acting_for(stranger.tenant):
        Device.objects.create(tenant=stranger.tenant, name="WM-9")
        tariff = Tariff.objects.get(tenant=stranger.tenant)
    form = clerk.get(reverse("admin:billing_agreement_add")).content.decode()
    assert "B-1" not in form
    assert "WM-9" not in form
    shown = add(
        clerk,
        "agreement",
        {
            "account": "B-1",
            "device": "WM-9",
            "channel_code": "main",
            "tariff": str(tariff.pk),
            "start_date": "2026-01-01",
        },
    )
    assert "There is no account B-1" in shown
    assert "There is no device WM-9" in shown
    assert "Select a valid choice" in shown
    with acting_for(tenant):
        assert not Agreement.objects.filter(tenant=tenant).exists()
        assert not Account.objects.filter(number="B-1").exists()


def test_a_run_is_asked_for_by_month_and_a_period_that_is_not_over_is_refused(
    clerk: Client, tenant: Tenant
) -> None:
    form = clerk.get(reverse("admin:billing_billrun_add"))
    assert form.context_data is not None
    month = form.context_data["form"].fields["month"].choices[0][0]
    assert "Queued" in add(clerk, "billrun", {"month": month})
    with acting_for(tenant):
        run = BillRun.objects.get(tenant=tenant)
    start = date.fromisoformat(month)
    assert (run.period_start, run.period_end) == (start, month_start(start, -1))
    late = {"month": "other", "period_start": month, "period_end": "2999-01-01"}
    assert "errornote" in add(clerk, "billrun", late)
    assert "give both dates" in add(clerk, "billrun", {"month": "other"})


def test_an_auditor_reads_the_report_and_bills_nothing(tenant: Tenant) -> None:
    auditor = visitor(tenant, Role.AUDITOR)
    assert auditor.get(reverse("admin:billing_invoice_reports")).status_code == 200
    assert auditor.get(reverse("admin:billing_invoice_report_csv")).status_code == 200
    for what in ("account", "tariff", "agreement", "billrun"):
        route = reverse(f"admin:billing_{what}_add")
        assert auditor.post(route, TARIFF).status_code == 403


def test_a_report_over_dates_in_the_wrong_order_says_so(clerk: Client) -> None:
    route = reverse("admin:billing_invoice_reports")
    asked = {"from_date": "2026-02-01", "to_date": "2026-01-01"}
    assert "is before" in clerk.get(route, asked).content.decode()
    csv = clerk.get(reverse("admin:billing_invoice_report_csv"), asked)
    assert csv.status_code < 500


def test_invoices_are_listed_by_issue_past_a_million(
    clerk: Client, tenant: Tenant
) -> None:
    with acting_for(tenant):
        InvoiceCounter.objects.create(tenant=tenant, last_number=999_998)
    customer = new_customer(tenant)
    meter_days(customer, date(2016, 7, 1), ["1"] * 62)
    for period in (JULY, (date(2016, 8, 1), date(2016, 9, 1))):
        assert carry(request_run(tenant, period)).status == "completed"
    assert [one.number for one in invoices_of(tenant)] == ["INV-1000000", "INV-999999"]
    for route, *args in (
        ("admin:billing_invoice_changelist",),
        ("admin:billing_account_change", customer.account.pk),
    ):
        shown = clerk.get(reverse(route, args=args)).content.decode()
        assert 0 < shown.index("INV-1000000") < shown.index("INV-999999"), route


def test_an_invoice_comes_as_a_file_to_its_own_utility_alone(
    clerk: Client, tenant: Tenant, stranger: NewTenant
) -> None:
    meter_days(new_customer(tenant), date(2016, 7, 1), ["1"] * 31)
    carry(request_run(tenant))
    route = reverse("admin:billing_invoice_pdf", args=["INV-000001"])
    assert clerk.get(route).content.startswith(b"%PDF-")
    assert visitor(stranger.tenant).get(route).status_code == 404


def test_months_are_counted_across_years_and_amounts_have_their_minor_unit() -> None:
    assert month_start(date(2026, 1, 31), 1) == date(2025, 12, 1)
    assert month_start(date(2025, 12, 5), -1) == date(2026, 1, 1)
    assert money(Decimal("1234.5000"), "EUR") == "1,234.50 EUR"
    assert money(Decimal(1234), "JPY") == "1,234 JPY"
