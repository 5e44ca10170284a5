import csv
import io
import zipfile
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client

from billing.services.invoicing import carry_run
from billing.tests.metering import CHARGES, Customer, meter_days, new_customer
from conftest import make_tenant
from tenants.actors import operator
from tenants.database import acting_for
from tenants.identifiers import new_id, parse_public_id, public_id
from tenants.models import Role, Tenant
from tenants.services import NewTenant, create_api_key

JULY = {"period_start": "2016-07-01", "period_end": "2016-08-01"}
REPORT = "/api/v1/reports/usage.csv?from=2016-07-01&to=2016-08-01"


@dataclass(frozen=True)
class Caller:
    """Someone with an API key."""

    key: str

    def get(self, path: str, **headers: str) -> Any:
        return self._headed().get(_full(path), headers=headers)

    def post(self, path: str, body: Any = None) -> Any:
        return self._headed().post(
            _full(path), data=body or {}, content_type="application/json"
        )

    def _headed(self) -> Client:
        return Client(headers={"Authorization": f"Bearer {self.key}"})


def _full(path: str) -> str:
    return path if path.startswith("/api/") else f"/api/v1{path}"


@pytest.fixture
def owner(new_tenant: NewTenant) -> Caller:
    return Caller(new_tenant.api_key)


@pytest.fixture
def outsider(stranger: NewTenant) -> Caller:
    return Caller(stranger.api_key)


def caller(tenant: Tenant, role: Role) -> Caller:
    with acting_for(tenant):
        _, token = create_api_key(
            tenant=tenant, actor=operator(tenant), name=role, role=role
        )
    return Caller(token)


@pytest.fixture
def customer(tenant: Tenant) -> Customer:
    found = new_customer(tenant)
    meter_days(found, date(2016, 7, 1), ["8.0282"] * 30 + ["8.0362"])
    return found


def bill_july(caller: Caller, tenant: Tenant) -> dict[str, Any]:
    reply = caller.post("/bill-runs/", JULY)
    assert reply.status_code == 202
    carry_run(tenant_id=tenant.pk, run_id=parse_public_id("run", reply.json()["id"]))
    run: dict[str, Any] = caller.get(reply["Location"]).json()
    return run


def code(reply: HttpResponse) -> tuple[int, str]:
    assert reply["Content-Type"] == "application/problem+json"
    return reply.status_code, reply.json()["code"]  # type: ignore[attr-defined]  # the test client's


def test_a_clerk_sets_up_and_bills_a_month(
    tenant: Tenant, customer: Customer, owner: Caller
) -> None:
    clerk = caller(tenant, Role.CLERK)
    assert clerk.post("/accounts/", {"number": "A-1", "name": "Ann"}).status_code == 201
    tariff = clerk.post(
        "/tariffs/",
        {
            "code": "home",
            "name": "Home",
            "versions": [{"valid_from_date": "2016-01-01", "charges": CHARGES}],
        },
    )
    assert tariff.status_code == 201
    assert tariff.json()["versions"][0]["charges"][0]["unit_price"] == "0.25"
    versions = f"/tariffs/{tariff.json()['id']}/versions/"
    version = {"valid_from_date": "2016-09-01", "charges": CHARGES}
    assert clerk.post(versions, version).status_code == 201
    assert code(clerk.post(versions, version)) == (409, "tariff_version_exists")
    agreement = clerk.post(
        "/agreements/",
        {
            "account": "A-1",
            "device": customer.device.name,
            "channel": "export",
            "tariff": "home",
            "start_date": "2017-01-01",
        },
    )
    assert agreement.status_code == 201
    assert agreement.json()["channel"] == "export"
    run = bill_july(clerk, tenant)
    assert (run["status"], run["percent"], run["errors"]) == ("completed", 100, [])
    assert run["invoices"] == ["INV-000001"]


def test_an_invoice_shows_its_arithmetic_and_its_proof(
    tenant: Tenant, customer: Customer, owner: Caller
) -> None:
    run = bill_july(owner, tenant)
    invoice = owner.get("/invoices/INV-000001/").json()
    assert (invoice["total"], invoice["currency"]) == ("65.32", "EUR")
    assert invoice["bill_run"] == run["id"]
    assert invoice["parties"]["account"]["number"] == customer.account.number
    usage, standing = invoice["lines"]
    assert (usage["quantity"], usage["unit"], usage["unit_price"], usage["amount"]) == (
        "248.8822",
        "kWh",
        "0.25",
        "62.22",
    )
    assert len(usage["days"]) == 31
    assert usage["days"][30] == {
        "day": "2016-07-31",
        "value": "8.0362",
        "actual": "1",
        "estimated": "0",
        "missing": "0",
    }
    assert usage["usage_url"] == (
        f"/api/v1/usage/?device={customer.device.name}&channel=main"
        "&from=2016-07-01&to=2016-08-01&interval=day"
    )
    assert (standing["quantity"], standing["unit"], standing["amount"]) == (
        "31",
        "day",
        "3.10",
    )


@pytest.mark.parametrize(
    "query",
    [
        "account={account}",
        "bill_run={run}",
        "period_start=2016-07-01&period_end=2016-08-01",
    ],
)
def test_invoices_are_found_by_account_run_and_period(
    tenant: Tenant, customer: Customer, owner: Caller, query: str
) -> None:
    run = bill_july(owner, tenant)
    asked = query.format(account=customer.account.number, run=run["id"])
    (found,) = owner.get(f"/invoices/?{asked}").json()["results"]
    assert found["number"] == "INV-000001"
    assert found["total"] == "65.32"


@pytest.mark.parametrize(
    "query", ["account=nobody", "bill_run=run_x", "period_start=2016-06-01"]
)
def test_a_filter_that_fits_nothing_finds_nothing(
    tenant: Tenant, customer: Customer, owner: Caller, query: str
) -> None:
    bill_july(owner, tenant)
    assert owner.get(f"/invoices/?{query}").json()["results"] == []


def test_a_stranger_sees_nothing_of_the_tenants_billing(
    tenant: Tenant, customer: Customer, owner: Caller, outsider: Caller
) -> None:
    run = bill_july(owner, tenant)
    agreement, tariff = customer.agreement.pk, customer.tariff.pk
    for path in (
        f"/accounts/{customer.account.number}/",
        f"/agreements/{agreement}/",
        f"/tariffs/{tariff}/",
        f"/bill-runs/{run['id']}/",
        "/invoices/INV-000001/",
    ):
        assert owner.get(path).status_code == 200, path
        assert outsider.get(path).status_code == 404, path
    for path in ("accounts", "agreements", "tariffs", "bill-runs", "invoices"):
        assert owner.get(f"/{path}/").json()["results"], path
        assert outsider.get(f"/{path}/").json()["results"] == [], path
    end = outsider.post(f"/agreements/{agreement}/end/", {"end_date": "2016-08-01"})
    assert end.status_code == 404
    version = {"valid_from_date": "2017-01-01", "charges": CHARGES}
    assert outsider.post(f"/tariffs/{tariff}/versions/", version).status_code == 404
    assert outsider.get(f"{REPORT}").content.count(b"\r\n") == 1
    asked = outsider.get(f"{REPORT}&account={customer.account.number}")
    assert code(asked) == (400, "account_unknown")


def test_a_stranger_cannot_use_the_tenants_names(
    customer: Customer, outsider: Caller
) -> None:
    outsider.post("/accounts/", {"number": "S-1", "name": "Sam"})
    outsider.post("/tariffs/", {"code": "mine", "name": "Mine"})
    body = {
        "account": "S-1",
        "device": customer.device.name,
        "tariff": "mine",
        "start_date": "2016-01-01",
    }
    assert code(outsider.post("/agreements/", body)) == (400, "device_unknown")
    body["tariff"] = customer.tariff.code
    body["device"] = "nothing"
    assert outsider.post("/agreements/", body).status_code == 400


@pytest.mark.parametrize("path", ["accounts/", "tariffs/", "agreements/", "bill-runs/"])
def test_an_auditor_reads_and_writes_nothing(tenant: Tenant, path: str) -> None:
    auditor = caller(tenant, Role.AUDITOR)
    assert auditor.get(f"/{path}").status_code == 200
    assert auditor.post(f"/{path}", JULY).status_code == 403


def test_an_auditor_ends_nothing_and_prices_nothing(
    tenant: Tenant, customer: Customer
) -> None:
    auditor = caller(tenant, Role.AUDITOR)
    end = f"/agreements/{customer.agreement.pk}/end/"
    assert auditor.post(end, {"end_date": "2016-08-01"}).status_code == 403
    versions = f"/tariffs/{customer.tariff.pk}/versions/"
    assert auditor.post(versions, {}).status_code == 403
    assert auditor.get("/invoices/").status_code == 200
    assert auditor.get(REPORT).status_code == 200


def test_nobody_gets_nothing() -> None:
    for path in ("/accounts/", "/invoices/", REPORT):
        assert Caller("ghk_wrong").get(path).status_code == 401


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("bill-runs", {**JULY, "period_end": "2016-07-01"}, "period_invalid"),
        ("bill-runs", {**JULY, "period_end": "2017-06-01"}, None),
        (
            "bill-runs",
            {"period_start": "2999-01-01", "period_end": "2999-02-01"},
            "period_not_over",
        ),
        ("bill-runs", {**JULY, "callback_endpoint": "ep_1"}, "endpoint_unknown"),
        (
            "bill-runs",
            {**JULY, "callback_endpoint": public_id("ep", new_id())},
            "endpoint_unknown",
        ),
        ("bill-runs", {"period_start": "July"}, "invalid"),
        ("accounts", {"number": ""}, "invalid"),
        (
            "tariffs",
            {
                "code": "x",
                "name": "X",
                "versions": [{"valid_from_date": "2016-01-01", "charges": [1]}],
            },
            "charges_invalid",
        ),
        ("tariffs", {"code": "not a slug", "name": "X"}, "invalid"),
    ],
)
def test_a_request_that_cannot_be_carried_out_says_why(
    owner: Caller, path: str, body: dict[str, Any], expected: str | None
) -> None:
    reply = owner.post(f"/{path}/", body)
    if expected is None:
        assert reply.status_code == 202
    else:
        assert code(reply) == (400, expected)


def test_a_second_agreement_for_the_days_is_a_conflict(
    customer: Customer, owner: Caller
) -> None:
    body = {
        "account": customer.account.number,
        "device": customer.device.name,
        "tariff": customer.tariff.code,
        "start_date": "2016-01-01",
    }
    assert code(owner.post("/agreements/", body)) == (409, "agreement_overlaps")
    end = f"/agreements/{customer.agreement.pk}/end/"
    assert owner.post(end, {"end_date": "2016-01-01"}).status_code == 200
    assert owner.post("/agreements/", body).status_code == 201
    body |= {"start_date": "2015-06-01", "end_date": "2015-06-01"}
    assert code(owner.post("/agreements/", body)) == (400, "agreement_period_empty")


def test_the_report_has_usage_and_money_by_month(
    tenant: Tenant, customer: Customer, owner: Caller
) -> None:
    bill_july(owner, tenant)
    reply = owner.get(REPORT, accept="text/csv")
    assert reply["Content-Type"] == "text/csv; charset=utf-8"
    (row,) = csv.DictReader(io.StringIO(reply.content.decode(), newline=""))
    assert row == {
        "account": customer.account.number,
        "name": "Ann",
        "month": "2016-07",
        "unit": "kWh",
        "usage": "248.8822",
        "billed": "65.32",
        "currency": "EUR",
        "actual": "1",
        "estimated": "0",
        "missing": "0",
    }


def test_the_workbook_is_one(tenant: Tenant, customer: Customer, owner: Caller) -> None:
    reply = owner.get(REPORT.replace(".csv", ".xlsx"))
    assert reply.status_code == 200
    with zipfile.ZipFile(io.BytesIO(reply.content)) as book:
        assert "xl/worksheets/sheet1.xml" in book.namelist()


@pytest.mark.parametrize("query", ["from=2016-08-01&to=2016-07-01", "from=x&to=y", ""])
def test_a_report_needs_a_span(owner: Caller, query: str) -> None:
    reply = owner.get(f"/reports/usage.csv?{query}")
    assert reply.status_code == 400
    assert reply["Content-Type"] == "application/problem+json"


def test_an_invoice_is_a_pdf_for_its_tenant_alone(
    tenant: Tenant, customer: Customer, owner: Caller, outsider: Caller
) -> None:
    bill_july(owner, tenant)
    path = "/invoices/INV-000001.pdf"
    pdf = owner.get(path, accept="application/pdf")
    assert pdf["Content-Type"] == "application/pdf"
    assert pdf.content.startswith(b"%PDF-")
    assert code(outsider.get(path)) == (404, "invoice_unknown")
    assert caller(tenant, Role.AUDITOR).get(path).content == pdf.content


def test_two_tenants_bill_under_the_same_numbers(
    tenant: Tenant, customer: Customer, owner: Caller
) -> None:
    other = make_tenant()
    theirs = new_customer(other.tenant)
    bill_july(owner, tenant)
    bill_july(Caller(other.api_key), other.tenant)
    mine = owner.get("/invoices/INV-000001/").json()
    other_bill = Caller(other.api_key).get("/invoices/INV-000001/").json()
    assert mine["account"] == customer.account.number
    assert other_bill["account"] == theirs.account.number


@pytest.mark.parametrize("number", ["a/b", "a?b", "a#b", "\u0000", "a\nb"])
def test_an_account_number_can_stand_in_an_address(owner: Caller, number: str) -> None:
    reply = owner.post("/accounts/", {"number": number, "name": "Ada"})
    assert code(reply)[0] == 400
