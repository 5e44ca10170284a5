import hashlib
from datetime import date, timedelta

import psycopg
import pytest
from django.conf import settings
from django.db import DatabaseError, connection, transaction

from billing.models import InvoiceLine
from billing.rating import Period
from billing.services.agreements import Terms, create_agreement
from billing.services.tariffs import NewVersion, add_tariff_version
from billing.tests.metering import (
    CALLBACK,
    Customer,
    meter_days,
    new_customer,
    new_tariff,
)
from billing.tests.running import (
    JULY,
    carry,
    invoices_of,
    lines_of,
    request_run,
)
from conftest import make_tenant
from ingest.buckets import day_start
from tenants.actors import operator
from tenants.database import acting_for, pipeline
from tenants.identifiers import public_id
from tenants.models import Tenant


def amounts(lines: list[InvoiceLine]) -> list[str]:
    return [f"{line.amount:.2f}" for line in lines]


def test_a_month_is_billed_with_its_proof(tenant: Tenant) -> None:
    customer = new_customer(tenant)
    meter_days(customer, date(2016, 6, 30), ["100"])
    meter_days(customer, JULY[0], ["8.0282"] * 30)
    meter_days(customer, date(2016, 7, 31), ["8.0362"], quality="E")
    meter_days(customer, JULY[1], ["100"])
    run = carry(request_run(tenant))
    assert (run.status, run.done_count, run.percent) == ("completed", 1, 100)
    (invoice,) = invoices_of(tenant)
    assert (invoice.number, f"{invoice.total:.2f}") == ("INV-000001", "65.32")
    usage, standing = lines_of(tenant)
    # 30 x 8.0282 + 8.0362 = 248.8822; x 0.25 = 62.22055.
    assert (f"{usage.quantity:.4f}", f"{usage.amount:.2f}") == ("248.8822", "62.22")
    assert (f"{standing.quantity:f}"[:2], f"{standing.amount:.2f}") == ("31", "3.10")
    assert usage.evidence["shares"] == {
        "actual": "0.967742",
        "estimated": "0.032258",
        "missing": "0",
    }
    assert usage.evidence["days"][30] == ["2016-07-31", "8.0362", "0", "1", "0"]
    assert usage.evidence["tariff"]["code"] == customer.tariff.code
    assert standing.evidence["day_count"] == 31


def test_the_digest_can_be_made_again_from_the_readings(tenant: Tenant) -> None:
    customer = new_customer(tenant)
    meter_days(customer, JULY[0], ["1.50"] * 31)
    carry(request_run(tenant))
    receipt = public_id("rcp", CALLBACK)
    readings = "\n".join(
        f"{day_start(day, tenant.zone):%Y-%m-%dT%H:%M:%S.%fZ}|1.5|A|{receipt}"
        for day in Period(*JULY).days()
    )
    evidence = lines_of(tenant)[0].evidence
    assert evidence["reading_count"] == 31
    digest = hashlib.sha256(readings.encode()).hexdigest()
    assert evidence["digest"] == f"sha256:{digest}"


@pytest.mark.parametrize(
    ("period", "expected_s"),
    [
        ((date(2016, 3, 1), date(2016, 4, 1)), 31 * 86_400 - 3_600),
        ((date(2016, 10, 1), date(2016, 11, 1)), 31 * 86_400 + 3_600),
        ((date(2016, 2, 1), date(2016, 3, 1)), 29 * 86_400),
    ],
)
def test_missing_days_count_with_their_true_length(
    tenant: Tenant, period: tuple[date, date], expected_s: int
) -> None:
    customer = new_customer(tenant)
    meter_days(customer, period[0], ["1"])
    carry(request_run(tenant, period))
    shares = lines_of(tenant)[0].evidence["shares"]
    assert float(shares["actual"]) == pytest.approx(86_400 / expected_s, abs=1e-6)


def test_a_tariff_change_and_a_move_split_the_month(tenant: Tenant) -> None:
    customer = new_customer(tenant, end_date=date(2016, 7, 21))
    dearer = [{"type": "consumption", "unit_price": "0.5", "unit": "kWh"}]
    with acting_for(tenant):
        add_tariff_version(
            tenant=tenant,
            actor=operator(tenant),
            tariff=customer.tariff,
            version=NewVersion(date(2016, 7, 11), dearer),
        )
    heir = new_customer(tenant, tariff=customer.tariff, start_date=date(2020, 1, 1))
    with acting_for(tenant):
        create_agreement(
            tenant=tenant,
            actor=operator(tenant),
            account=heir.account,
            terms=Terms(customer.device, customer.tariff, date(2016, 7, 21)),
        )
    meter_days(customer, JULY[0], ["1"] * 31)
    run = carry(request_run(tenant))
    assert run.done_count == 2
    # 10 days at 0.25 and 0.10 a day, 10 days at 0.50; the heir has 11 days at 0.50.
    assert sorted(amounts(lines_of(tenant))) == ["1.00", "2.50", "5.00", "5.50"]


def test_a_second_run_over_the_period_bills_nobody_twice(tenant: Tenant) -> None:
    customer = new_customer(tenant)
    meter_days(customer, JULY[0], ["1"] * 31)
    carry(request_run(tenant))
    again = carry(request_run(tenant))
    assert (again.status, again.done_count, again.skipped_count) == ("completed", 0, 1)
    assert len(invoices_of(tenant)) == 1


def test_days_on_an_invoice_are_not_billed_by_another_period(tenant: Tenant) -> None:
    customer = new_customer(tenant)
    meter_days(customer, JULY[0], ["1"] * 31)
    carry(request_run(tenant))
    run = carry(request_run(tenant, (date(2016, 7, 15), date(2016, 8, 15))))
    assert run.status == "failed"
    assert run.errors[0]["code"] == "period_overlaps"
    assert len(invoices_of(tenant)) == 1


def test_one_accounts_error_does_not_stop_the_run(tenant: Tenant) -> None:
    tariff = new_tariff(tenant)
    litres = new_customer(tenant, tariff=tariff, unit="m3")
    good = new_customer(tenant, tariff=tariff)
    late = new_customer(tenant, tariff=new_tariff(tenant, valid_from=date(2016, 7, 2)))
    silent = new_customer(tenant, tariff=tariff)
    with acting_for(tenant):
        silent.channel.code = "other"
        silent.channel.save()
    run = carry(request_run(tenant))
    assert (run.status, run.done_count, run.failed_count) == ("completed", 1, 3)
    assert run.percent == 100
    assert {(error["account"], error["code"]) for error in run.errors} == {
        (litres.account.number, "unit_mismatch"),
        (late.account.number, "tariff_gap"),
        (silent.account.number, "channel_unknown"),
    }
    (invoice,) = invoices_of(tenant)
    assert invoice.account_id == good.account.pk


def test_a_currency_nobody_can_round_fails_the_run() -> None:
    tenant = make_tenant().tenant
    with acting_for(tenant):
        Tenant.objects.filter(pk=tenant.pk).update(currency="XXX")
    new_customer(tenant)
    run = carry(request_run(tenant))
    assert run.status == "failed"
    assert run.errors[0]["code"] == "currency_unknown"


@pytest.mark.parametrize(("currency", "total"), [("JPY", "11"), ("KWD", "10.850")])
def test_amounts_have_the_currencys_minor_unit(currency: str, total: str) -> None:
    tenant = make_tenant(currency=currency).tenant
    customer = new_customer(tenant)
    meter_days(customer, JULY[0], ["1"] * 31)
    carry(request_run(tenant))
    # 31 x 0.25 = 7.75 and 31 x 0.10 = 3.10: 8 and 3 in yen.
    places = len(total.partition(".")[2])
    assert f"{invoices_of(tenant)[0].total:.{places}f}" == total


@pytest.mark.parametrize("role", ["gridhook_app", "owner"])
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE billing_invoice SET total = 0",
        "DELETE FROM billing_invoice",
        "UPDATE billing_invoiceline SET amount = 0",
        "DELETE FROM billing_invoiceline",
        "TRUNCATE billing_invoiceline",
    ],
)
def test_an_issued_invoice_is_frozen_for_everyone(
    tenant: Tenant, role: str, change: str
) -> None:
    new_customer(tenant)
    carry(request_run(tenant))
    if role == "owner":
        with psycopg.connect(settings.DATABASE_URL) as owner:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                owner.execute(change)
            owner.rollback()
    else:
        with (
            pytest.raises(DatabaseError),
            acting_for(tenant),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(change)
    assert len(lines_of(tenant)) == 2


def test_a_correction_after_the_bill_leaves_the_bill_alone(tenant: Tenant) -> None:
    customer = new_customer(tenant)
    meter_days(customer, JULY[0], ["1"] * 31)
    carry(request_run(tenant))
    before = lines_of(tenant)[0].evidence
    meter_days(customer, JULY[0], ["99"])
    assert lines_of(tenant)[0].evidence == before
    assert before["days"][0] == ["2016-07-01", "1", "1", "0", "0"]


def test_days_of_a_customer_are_those_of_the_tenants_zone() -> None:
    tenant = make_tenant(timezone="Pacific/Auckland").tenant
    customer: Customer = new_customer(tenant)
    meter_days(customer, date(2016, 6, 30), ["100"])
    meter_days(customer, JULY[0], ["1"] * 31)
    carry(request_run(tenant))
    evidence = lines_of(tenant)[0].evidence
    assert evidence["reading_count"] == 31
    assert len(evidence["days"]) == 31
    assert timedelta(days=31) == JULY[1] - JULY[0]


def store_readings(
    customer: Customer, duration_s: int, readings: list[tuple[str, str]]
) -> None:
    with pipeline() as lane:
        for suffix, start, end in (
            ("201606", "2016-06-01Z", "2016-07-01Z"),
            ("201607", "2016-07-01Z", "2016-08-01Z"),
        ):
            lane.execute(
                "SELECT ingest_make_partition('ingest_reading', %s, %s, %s)",
                [suffix, start, end],
            )
        for at, value in readings:
            lane.execute(
                """INSERT INTO ingest_reading (tenant_id, channel_id, start_at, value,
                    duration_s, quality, callback_id)
                VALUES (%s, %s, %s, %s, %s, 'A', %s)""",
                [
                    customer.tenant.pk,
                    customer.channel.pk,
                    at,
                    value,
                    duration_s,
                    CALLBACK,
                ],
            )


def readings_billed(customer: Customer) -> int:
    carry(request_run(customer.tenant))
    count: int = lines_of(customer.tenant)[0].evidence["reading_count"]
    return count


def test_an_interval_over_the_periods_edge_is_part_of_the_proof(tenant: Tenant) -> None:
    customer = new_customer(tenant)
    # July in Brussels is 30 June 22:00Z to 31 July 22:00Z; intervals of two hours.
    readings = ["06-30T20:00Z", "06-30T21:00Z", "07-31T21:00Z", "07-31T22:00Z"]
    store_readings(customer, 7_200, [(f"2016-{at}", "1") for at in readings])
    assert readings_billed(customer) == 2


def test_a_registers_proof_reaches_to_the_readings_around_the_period(
    tenant: Tenant,
) -> None:
    customer = new_customer(tenant)
    with acting_for(tenant):
        customer.channel.kind = "register"
        customer.channel.save(update_fields=["kind"])
    readings = ["06-20T00:00Z", "06-29T00:00Z", "07-15T00:00Z", "07-31T23:00Z"]
    store_readings(customer, 0, [(f"2016-{at}", "1") for at in readings])
    assert readings_billed(customer) == 3
