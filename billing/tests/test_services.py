from collections.abc import Generator
from datetime import UTC, date, datetime
from uuid import uuid4

import pytest

from billing.charges import ChargesInvalid
from billing.models import Agreement, Tariff
from billing.services.accounts import AccountExists, create_account
from billing.services.agreements import (
    AgreementOverlaps,
    AgreementPeriodEmpty,
    Terms,
    create_agreement,
    end_agreement,
)
from billing.services.bill_runs import (
    EndpointUnknown,
    PeriodInvalid,
    PeriodNotOver,
    request_bill_run,
)
from billing.services.tariffs import (
    NewVersion,
    TariffExists,
    TariffVersionExists,
    add_tariff_version,
    create_tariff,
)
from billing.tests.metering import CHARGES, new_customer, new_tariff
from conftest import make_tenant
from tenants.actors import Actor, operator
from tenants.database import acting_for
from tenants.models import AuditEntry, Tenant


@pytest.fixture
def inside(tenant: Tenant) -> Generator[None, None, None]:
    with acting_for(tenant):
        yield


def test_an_account_number_is_taken_once(tenant: Tenant, actor: Actor) -> None:
    with acting_for(tenant):
        create_account(tenant=tenant, actor=actor, number="A-1", name="Ann")
        with pytest.raises(AccountExists):
            create_account(tenant=tenant, actor=actor, number="A-1", name="Bob")
        entries = AuditEntry.objects.filter(tenant=tenant, action="account.created")
        assert [entry.subject for entry in entries] == ["A-1"]


def test_two_tenants_have_the_same_account_number(tenant: Tenant, actor: Actor) -> None:
    other = make_tenant().tenant
    for one in (tenant, other):
        with acting_for(one):
            create_account(tenant=one, actor=operator(one), number="A-1", name="Ann")


@pytest.mark.usefixtures("inside")
def test_a_tariff_code_and_a_version_date_are_taken_once(
    tenant: Tenant, actor: Actor
) -> None:
    version = NewVersion(date(2016, 1, 1), CHARGES)
    tariff = create_tariff(
        tenant=tenant, actor=actor, code="home", name="Home", versions=[version]
    )
    with pytest.raises(TariffExists):
        create_tariff(tenant=tenant, actor=actor, code="home", name="Home")
    with pytest.raises(TariffVersionExists):
        add_tariff_version(tenant=tenant, actor=actor, tariff=tariff, version=version)


@pytest.mark.usefixtures("inside")
def test_a_tariff_with_a_bad_version_is_not_created(
    tenant: Tenant, actor: Actor
) -> None:
    with pytest.raises(ChargesInvalid):
        create_tariff(
            tenant=tenant,
            actor=actor,
            code="home",
            name="Home",
            versions=[NewVersion(date(2016, 1, 1), [{"type": "free"}])],
        )
    assert not Tariff.objects.filter(tenant=tenant).exists()


def test_a_channel_is_billed_to_one_account_at_a_time(tenant: Tenant) -> None:
    actor = operator(tenant)
    first = new_customer(tenant, end_date=date(2016, 7, 15))
    with acting_for(tenant):
        other = create_account(tenant=tenant, actor=actor, number="B-1", name="Bob")
        early = Terms(first.device, first.tariff, date(2016, 7, 14))
        with pytest.raises(AgreementOverlaps):
            create_agreement(tenant=tenant, actor=actor, account=other, terms=early)
        next_day = Terms(first.device, first.tariff, date(2016, 7, 15))
        create_agreement(tenant=tenant, actor=actor, account=other, terms=next_day)
        with pytest.raises(AgreementOverlaps):
            end_agreement(
                tenant=tenant,
                actor=actor,
                agreement=first.agreement,
                end_date=date(2016, 8, 1),
            )


@pytest.mark.parametrize("end_date", [date(2015, 1, 1), date(2014, 12, 31)])
def test_an_agreement_ends_after_it_starts(tenant: Tenant, end_date: date) -> None:
    customer = new_customer(tenant)
    with acting_for(tenant), pytest.raises(AgreementPeriodEmpty):
        end_agreement(
            tenant=tenant,
            actor=operator(tenant),
            agreement=customer.agreement,
            end_date=end_date,
        )


def test_an_ended_agreement_says_so_in_the_trail(tenant: Tenant) -> None:
    customer = new_customer(tenant)
    with acting_for(tenant):
        end_agreement(
            tenant=tenant,
            actor=operator(tenant),
            agreement=customer.agreement,
            end_date=date(2016, 7, 1),
        )
        assert Agreement.objects.get(tenant=tenant).end_date == date(2016, 7, 1)
        entry = AuditEntry.objects.get(tenant=tenant, action="agreement.ended")
    assert entry.detail["end_date"] == "2016-07-01"


#: 22:00 in Brussels on 31 July is 20:00 in UTC; midnight is 22:00 in UTC.
@pytest.mark.parametrize(
    ("now", "refused"),
    [
        (datetime(2016, 7, 31, 21, 59, tzinfo=UTC), True),
        (datetime(2016, 7, 31, 22, 0, tzinfo=UTC), False),
    ],
)
@pytest.mark.usefixtures("inside")
def test_a_period_is_over_at_midnight_in_the_tenants_zone(
    tenant: Tenant, actor: Actor, now: datetime, refused: bool
) -> None:
    def ask() -> None:
        request_bill_run(
            tenant=tenant,
            actor=actor,
            period_start=date(2016, 7, 1),
            period_end=date(2016, 8, 1),
            now=now,
        )

    if refused:
        with pytest.raises(PeriodNotOver):
            ask()
    else:
        ask()


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (date(2016, 7, 1), date(2016, 7, 1)),
        (date(2016, 7, 2), date(2016, 7, 1)),
        (date(2014, 1, 1), date(2016, 7, 1)),
    ],
)
@pytest.mark.usefixtures("inside")
def test_a_period_is_neither_empty_nor_endless(
    tenant: Tenant, actor: Actor, start: date, end: date
) -> None:
    with pytest.raises(PeriodInvalid):
        request_bill_run(tenant=tenant, actor=actor, period_start=start, period_end=end)


@pytest.mark.usefixtures("inside")
def test_a_run_tells_only_endpoints_of_its_tenant(tenant: Tenant, actor: Actor) -> None:
    with pytest.raises(EndpointUnknown):
        request_bill_run(
            tenant=tenant,
            actor=actor,
            period_start=date(2016, 7, 1),
            period_end=date(2016, 8, 1),
            callback_endpoint_id=uuid4(),
        )


def test_an_account_of_one_tenant_is_nothing_to_another(tenant: Tenant) -> None:
    new_tariff(tenant)
    other = make_tenant().tenant
    with acting_for(other):
        assert not Tariff.objects.exists()
